"""Studies on a DICOMweb server: listed, fetched when somebody needs them, and accepted labels put back as DICOM SEG."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
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


class PacsDatastore(StoreDatastore):
    """A label store whose images lie on a DICOMweb server. The id of an image is its SeriesInstanceUID.

    An image is kept as NIfTI in the store's studies folder once it was needed, beside its DICOM instances in ``.dicom``.
    """

    def __init__(self, store: LabelStore, web: DicomWeb) -> None:
        """Take the store that labels are kept in, and the server."""
        self.web = web
        self._fetching = threading.Lock()
        self._sending = threading.Lock()
        self._reachable = True
        super().__init__(store)

    def name(self) -> str:
        """Address of the server."""
        return self.web.url

    def get_image_uri(self, image_id: str) -> str:
        """Say where an image lies; it is fetched if it was never needed before."""
        try:
            case = self.store.images.get(image_id)
            if not case.image.is_file():
                self._fetch(case)
        except MinivessError as error:
            raise as_http(error) from error
        return str(case.image)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the images without a label, not reserved, and not known to be no volume."""
        return [i for i in super().get_unlabeled_images(label_tag, labels) if not self.store.images.get(i).info.get("unreadable")]

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label as a revision; a final one goes to the server as SEG, now or when it answers again."""
        self.get_image_uri(image_id)
        label_id = super().save_label(image_id, label_filename, label_tag, label_info)
        if label_tag == FINAL:
            self.send_waiting()
        return label_id

    def remarks(self, saved: Revision) -> dict[str, Any]:
        """Say whether the label is on the server."""
        head = self.store.head(saved.case, saved.tag)
        if saved.tag != FINAL or head is None:
            return {}
        return {"dicom_seg": head.info["dicom"] if _is_sent(head) else "kept here; it is sent when the DICOM server answers"}

    def waiting(self) -> list[Revision]:
        """List accepted labels that are not on the server yet."""
        heads = [self.store.head(case.id) for case in self.store.images.all(labelled=True)]
        return [head for head in heads if head is not None and not _is_sent(head)]

    def send_waiting(self) -> None:
        """Put accepted labels on the server; what it does not take waits for the next time."""
        with self._sending:
            for head in self.waiting():
                try:
                    self._send(head)
                    self._reachable = True
                except RemoteError as error:
                    self._told(error)
                    return
                except MinivessError as error:  # this one cannot be sent; others can
                    logger.warning("a label was not written as DICOM SEG: %s", type(error).__name__)

    def seg_of(self, image_id: str, mask: Path, model: ModelRef | None, target: Path) -> Path:
        """Write a mask of an image as DICOM SEG."""
        self.get_image_uri(image_id)
        series = read_series(self._dicom(image_id))
        return write_seg(read_volume(mask, unit="mm"), series, model, target)

    def _send(self, head: Revision) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = self.seg_of(head.case, head.path, None, Path(folder) / "label.dcm")
            sop_instance_uid = self.web.store(file)
        about = {"revision": head.number, "SOPInstanceUID": sop_instance_uid}
        self.store.update_label_info(head.case, FINAL, {"dicom": about}, actor="server")

    def _fetch(self, case: Case) -> None:
        with self._fetching:
            if case.image.is_file():
                return
            info = case.info
            remote = RemoteSeries(case.id, str(info["StudyInstanceUID"]), str(info["Modality"]), "", int(info["instances"]))
            folder = self.web.fetch(remote, self._dicom(case.id))
            try:
                volume = read_series(folder).volume
            except MinivessError as error:
                self.store.images.update_info(case.id, {"unreadable": type(error).__name__}, actor="server")
                raise
            write_volume(volume, case.image)

    def _dicom(self, case_id: str) -> Path:
        return self.store.studies / ".dicom" / case_id

    def _rescan(self, older_than_s: float = LOOK_S) -> None:
        if time.monotonic() - self._scanned < older_than_s and self._scanned:
            return
        self._scanned = time.monotonic()
        try:
            listed = self.web.series()
            self._reachable = True
        except RemoteError as error:
            self._told(error)
            return
        known = {case.id for case in self.store.images.all()}
        for series in listed:
            if series.uid not in known:
                self.store.images.announce(f"{series.uid}.nii.gz", info=self._about(series))
        self.send_waiting()

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


def _is_sent(head: Revision) -> bool:
    return bool(head.info.get("dicom", {}).get("revision") == head.number)
