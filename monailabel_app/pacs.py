"""Studies on a DICOMweb server: listed, fetched when somebody needs them, and accepted labels put back as DICOM SEG."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from http_errors import as_http
from label_store import StoreDatastore
from minivess.dicom import read_series, write_seg
from minivess.dicom.web import DicomWeb, RemoteSeries
from minivess.errors import MinivessError, RemoteError
from minivess.models import ModelRef
from minivess.store import FINAL, Case, LabelStore, Revision
from minivess.volume import read_volume, write_volume

logger = logging.getLogger(__name__)
LOOK_S = 60.0  # between two questions to the server what is new
#: Seconds that a submission waits for its SEG to be taken; then the answer says that it follows.
PATIENCE_S = 5.0


class PacsDatastore(StoreDatastore):
    """A label store whose images lie on a DICOMweb server. The id of an image is its SeriesInstanceUID.

    An image is kept as NIfTI in the store's studies folder once it was needed, beside its DICOM instances in ``.dicom``.
    One thread of the label server asks what is new and sends what waits, so that no request hangs on a server that is silent.
    """

    def __init__(self, store: LabelStore, web: DicomWeb) -> None:
        """Take the store that labels are kept in, and the server."""
        self.web = web
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._wake = threading.Event()
        self._sent = threading.Condition()
        self._rounds, self._busy = 0, False
        self._looked = 0.0
        self._cannot: dict[tuple[str, int], str] = {}  # labels that were not written, until the next start, and why
        self._reachable = True
        super().__init__(store)
        self.look()

    def begin(self) -> None:
        """Look and send from now on; the label server says when."""
        threading.Thread(target=self._work, name="dicomweb", daemon=True).start()

    def name(self) -> str:
        """Address of the server."""
        return self.web.url

    def is_here(self, image_id: str) -> bool:
        """Tell whether an image was fetched already."""
        return self.store.images.get(image_id).image.is_file()

    def get_image_uri(self, image_id: str) -> str:
        """Say where an image lies; it is fetched if it was never needed before."""
        try:
            return str(self._path_of(image_id))
        except MinivessError as error:
            raise as_http(error) from error

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the images without a label, not reserved, and not known to be no volume."""
        return [i for i in super().get_unlabeled_images(label_tag, labels) if not self.store.images.get(i).info.get("unreadable")]

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label as a revision; a final one goes to the server as SEG, now or when it answers again."""
        self.get_image_uri(image_id)
        label_id = super().save_label(image_id, label_filename, label_tag, label_info)
        if label_tag == FINAL:
            with self._sent:
                tried = self._rounds + (2 if self._busy else 1)  # the round under way may have begun before this label
                self._wake.set()
                self._sent.wait_for(lambda: not self._waits(self.store.head(image_id)) or self._rounds >= tried, PATIENCE_S)
        return label_id

    def remarks(self, saved: Revision) -> dict[str, Any]:
        """Say whether the label is on the server."""
        head = self.store.head(saved.case, saved.tag)
        if saved.tag != FINAL or head is None or not self.store.images.get(saved.case).info.get("remote"):
            return {}
        if not self._waits(head):
            return {"dicom_seg": head.info["dicom"]}
        why = self._cannot.get((head.case, head.number))
        return {
            "dicom_seg": f"kept here; not written as SEG: {why}"
            if why
            else "kept here; it is sent when the DICOM server takes it"
        }

    def send_waiting(self) -> None:
        """Put accepted labels on the server; what it does not take waits for the next time."""
        heads = [self.store.head(case.id) for case in self.store.images.all(labelled=True) if case.info.get("remote")]
        for head in heads:
            if head is None or not self._waits(head) or (head.case, head.number) in self._cannot:
                continue
            try:
                self._send(head)
            except RemoteError as error:
                self._told(error)
                break
            except Exception as error:  # noqa: BLE001 (one that cannot be written must not keep the others)
                logger.warning("a label was not written as DICOM SEG: %s", type(error).__name__)
                self._cannot[head.case, head.number] = type(error).__name__

    def seg_of(self, image_id: str, mask: Path, model: ModelRef | None, target: Path) -> Path:
        """Write a mask of an image as DICOM SEG."""
        self._path_of(image_id)
        return write_seg(read_volume(mask, unit="mm"), read_series(self._dicom(image_id)), model, target)

    def look(self) -> None:
        """Ask the server which series there are, and take in what is new or has changed."""
        self._looked = time.monotonic()
        try:
            listed = self.web.series()
        except RemoteError as error:
            self._told(error)
            return
        self._reachable = True
        known = {case.id: case for case in self.store.images.all()}
        for series in listed:
            case = known.get(series.uid)
            if case is None:
                self.store.images.announce(f"{series.uid}.nii.gz", info=self._about(series))
            elif case.info.get("instances") != series.instances:
                self._changed(case, series)

    def refresh(self) -> None:
        """Look for new series soon."""
        self._looked = 0.0
        self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait(LOOK_S)
            with self._sent:
                self._wake.clear()
                self._busy = True
            try:
                self.send_waiting()
            except Exception as error:  # noqa: BLE001 (the next round may do better; without the thread nothing is ever sent)
                logger.warning("sending to the DICOM server failed: %s", type(error).__name__)
            with self._sent:
                self._rounds, self._busy = self._rounds + 1, False
                self._sent.notify_all()
            try:
                if time.monotonic() - self._looked >= LOOK_S or not self._looked:
                    self.look()
            except Exception as error:  # noqa: BLE001 (as above)
                logger.warning("asking the DICOM server failed: %s", type(error).__name__)

    def _waits(self, head: Revision | None) -> bool:
        return head is not None and head.info.get("dicom", {}).get("revision") != head.number

    def _send(self, head: Revision) -> None:
        with tempfile.TemporaryDirectory() as folder:
            uid = self.web.store(self.seg_of(head.case, head.path, None, Path(folder) / "label.dcm"))
        self._reachable = True
        info = {"dicom": {"revision": head.number, "SOPInstanceUID": uid}}
        self.store.update_label_info(head.case, FINAL, info, actor="server")
        with self._sent:
            self._sent.notify_all()

    def _path_of(self, image_id: str) -> Path:
        case = self.store.images.get(image_id)
        there = [case.image.is_file(), self._dicom(case.id).is_dir() or not case.info.get("remote")]
        if not all(there):
            with self._fetching[case.id]:
                if not (case.image.is_file() and self._dicom(case.id).is_dir()):
                    self._fetch(case)
        return case.image

    def _fetch(self, case: Case) -> None:
        info = case.info
        remote = RemoteSeries(case.id, str(info["StudyInstanceUID"]), str(info["Modality"]), "", int(info["instances"]))
        folder = self.web.fetch(remote, self._dicom(case.id))
        try:
            volume = read_series(folder).volume
        except MinivessError as error:
            self.store.images.update_info(case.id, {"unreadable": type(error).__name__}, actor="server")
            shutil.rmtree(folder, ignore_errors=True)
            raise
        write_volume(volume, case.image)

    def _changed(self, case: Case, series: RemoteSeries) -> None:
        """Forget what was fetched of a series that has more instances now; a label keeps the image that it was made on."""
        labelled = bool(self.store.history(case.id))
        if not labelled:
            case.image.unlink(missing_ok=True)
            shutil.rmtree(self._dicom(case.id), ignore_errors=True)
        info = {"instances": series.instances, "unreadable": "", **({"changed": True} if labelled else {})}
        self.store.images.update_info(case.id, info, actor="server")

    def _dicom(self, case_id: str) -> Path:
        return self.store.studies / ".dicom" / case_id

    def _rescan(self, older_than_s: float = LOOK_S) -> None:
        """Do nothing: the images are where the server says."""

    def _about(self, series: RemoteSeries) -> dict[str, Any]:
        """What is kept of a series; the patient only as a keyed hash, so that splits are by patient."""
        patient = self.store.journal.audit.case_hmac(f"patient {series.patient_id}")[:16] if series.patient_id else series.uid
        return {
            "subject": patient,
            "Modality": series.modality,
            "StudyInstanceUID": series.study_uid,
            "SeriesInstanceUID": series.uid,
            "instances": series.instances,
        }

    def _told(self, error: RemoteError) -> None:
        """Tell once that the server does not answer, not with every request."""
        if self._reachable:
            logger.warning("%s", error)
        self._reachable = False
