"""A label store whose images are on a DICOMweb server: listed, downloaded when needed; final labels are sent back as SEG."""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from minivess.dicom import read_series, write_seg
from minivess.dicom.web import DicomWeb, RemoteSeries
from minivess.errors import MinivessError
from minivess.label_app.datastore import StoreDatastore
from minivess.label_app.dicomweb_sync import DicomWebSync
from minivess.label_app.http_errors import http_errors
from minivess.models import ModelRef
from minivess.store import FINAL, Case, LabelStore, Revision
from minivess.volume import read_volume, write_volume

#: Seconds that a submission waits for its SEG to be accepted; afterwards it is sent in the background.
SEND_TIMEOUT_S = 5.0


class DicomWebDatastore(StoreDatastore):
    """The id of an image is its SeriesInstanceUID.

    An image is stored as NIfTI in the store's studies folder when it was needed for the first time, beside its DICOM instances in
    ``.dicom``. :class:`DicomWebSync` talks to the server in a thread, so that no request waits for a server that does not answer.
    """

    def __init__(self, store: LabelStore, web: DicomWeb) -> None:
        """Open the view, and list the series of the server.

        Args:
            store: The store of the labels.
            web: The server.
        """
        self.web = web
        self._download_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        super().__init__(store)
        self.sync = DicomWebSync(store, web, self.write_dicom_seg, self._forget_files)
        self.sync.update_list()

    def start(self) -> None:
        """Start the thread that lists new series and sends labels."""
        self.sync.start()

    def name(self) -> str:
        """Return the address of the server."""
        return self.web.url

    def is_local(self, image_id: str) -> bool:
        """Return whether an image was downloaded already."""
        return self.store.images.get(image_id).image.is_file()

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of an image; it is downloaded when it was never needed before."""
        with http_errors():
            return str(self._local_path(image_id))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """List the images that have no label, are not reserved, and can be read as a volume.

        Args:
            label_tag: Tag of the label; ``final`` by default.
            labels: Not used.
        """
        images = super().get_unlabeled_images(label_tag, labels)
        return [image_id for image_id in images if not self.store.images.get(image_id).info.get("unreadable")]

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Record a label as a revision; a final one is sent to the server as SEG, now or when it answers again.

        Args:
            image_id: The image.
            label_filename: The upload.
            label_tag: Tag of the label.
            label_info: What the client sent with it.
        """
        self.get_image_uri(image_id)
        label_id = super().save_label(image_id, label_filename, label_tag, label_info)
        if label_tag == FINAL:
            self.sync.send_soon(image_id, timeout_s=SEND_TIMEOUT_S)
        return label_id

    def remarks(self, saved: Revision) -> dict[str, Any]:
        """Return whether the label is on the server."""
        head = self.store.head(saved.image_id, saved.tag)
        if saved.tag != FINAL or head is None or not self.store.images.get(saved.image_id).info.get("remote"):
            return {}
        if not self.sync.is_unsent(head):
            return {"dicom_seg": head.info.dicom.to_json() if head.info.dicom else {}}
        reason = self.sync.failure(head)
        if reason:
            return {"dicom_seg": f"saved here; not written as SEG: {reason}"}
        return {"dicom_seg": "saved here; it is sent when the DICOM server accepts it"}

    def write_dicom_seg(self, image_id: str, mask: Path, model: ModelRef | None, target: Path) -> Path:
        """Write a mask of an image as DICOM SEG.

        Args:
            image_id: The image.
            mask: File of the mask.
            model: The model that predicted it; None for a label.
            target: File to write.
        """
        self._local_path(image_id)
        return write_seg(read_volume(mask, unit="mm"), read_series(self._dicom_folder(image_id)), model, target)

    def refresh(self) -> None:
        """List new series soon."""
        self.sync.update_soon()

    def _local_path(self, image_id: str) -> Path:
        case = self.store.images.get(image_id)
        if not self._is_downloaded(case):
            with self._download_locks[case.id]:
                if not self._is_downloaded(case):
                    self._download(case)
        return case.image

    def _is_downloaded(self, case: Case) -> bool:
        return case.image.is_file() and (self._dicom_folder(case.id).is_dir() or not case.info.get("remote"))

    def _download(self, case: Case) -> None:
        info = case.info
        remote = RemoteSeries(case.id, str(info["StudyInstanceUID"]), str(info["Modality"]), "", int(info["instances"]))
        folder = self.web.fetch(remote, self._dicom_folder(case.id))
        try:
            volume = read_series(folder).volume
        except MinivessError as error:
            self.store.images.update_info(case.id, {"unreadable": type(error).__name__}, actor="server")
            shutil.rmtree(folder, ignore_errors=True)
            raise
        write_volume(volume, case.image)

    def _forget_files(self, case: Case) -> None:
        case.image.unlink(missing_ok=True)
        shutil.rmtree(self._dicom_folder(case.id), ignore_errors=True)

    def _dicom_folder(self, image_id: str) -> Path:
        return self.store.studies / ".dicom" / image_id

    def _rescan(self, older_than_s: float = 0.0) -> None:
        """Do nothing: the list of images is that of the server."""
