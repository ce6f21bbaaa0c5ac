"""Synchronise a label store with a DICOMweb server: list new series, send final labels as SEG, in a thread of its own."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivess.dicom.web import DicomWeb, RemoteSeries
from minivess.errors import InputError, RemoteError
from minivess.models import ModelRef
from minivess.store import FINAL, Case, LabelStore, Revision
from minivess.store.records import SegCopy

_logger = logging.getLogger(__name__)
POLL_S = 60.0  # between two requests for the list of series


class DicomWebSync:
    """One thread that lists and sends; any other thread may ask it to."""

    def __init__(
        self,
        store: LabelStore,
        web: DicomWeb,
        write_seg: Callable[[str, Path, ModelRef | None, Path], Path],
        forget_files: Callable[[Case], None],
    ) -> None:
        """Prepare the synchronisation; :meth:`start` begins it.

        Args:
            store: The label store.
            web: The server.
            write_seg: Writes the mask file of an image as SEG.
            forget_files: Deletes the downloaded files of a case whose series has changed.
        """
        self._store, self._web, self._write_seg, self._forget_files = store, web, write_seg, forget_files
        self._wake = threading.Event()
        self._sent = threading.Condition()
        self._rounds, self._busy = 0, False
        self._listed = 0.0
        self._failures: dict[tuple[str, int], str] = {}  # labels that could not be written, until the next start
        self._reachable = True

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="dicomweb", daemon=True).start()

    def update_soon(self) -> None:
        """List new series in the next round."""
        self._listed = 0.0
        self._wake.set()

    def send_soon(self, image_id: str, *, timeout_s: float) -> None:
        """Send the final label of an image in the next round, and wait for it.

        Args:
            image_id: The image.
            timeout_s: Seconds to wait at most.
        """
        with self._sent:
            last = self._rounds + (2 if self._busy else 1)  # the current round may have started before this label
            self._wake.set()
            self._sent.wait_for(lambda: not self.is_unsent(self._store.head(image_id)) or self._rounds >= last, timeout_s)

    def is_unsent(self, head: Revision | None) -> bool:
        """Return whether a label is not on the server."""
        return head is not None and (head.info.dicom is None or head.info.dicom.revision != head.number)

    def failure(self, head: Revision) -> str:
        """Return why a label could not be written as SEG; empty when it was not tried or did not fail."""
        return self._failures.get((head.image_id, head.number), "")

    def update_list(self) -> None:
        """List the series of the server, and add those that are new or have changed."""
        self._listed = time.monotonic()
        try:
            listed = self._web.series()
        except RemoteError as error:
            self._log_unreachable(error)
            return
        self._reachable = True
        known = {case.id: case for case in self._store.images.all()}
        for series in listed:
            case = known.get(series.uid)
            if case is None:
                self._store.images.announce(f"{series.uid}.nii.gz", info=self._image_info(series))
            elif case.info.get("instances") != series.instances:
                self._update_case(case, series)

    def send_labels(self) -> None:
        """Send the final labels that are not on the server; those that it does not accept are sent in a later round."""
        heads = [self._store.head(case.id) for case in self._store.images.all(labelled=True) if case.info.get("remote")]
        for head in heads:
            if head is None or not self.is_unsent(head) or self.failure(head):
                continue
            try:
                self._send(head)
            except RemoteError as error:
                self._log_unreachable(error)
                break
            except InputError as error:
                _logger.warning("a label was not written as DICOM SEG: %s", type(error).__name__)
                self._failures[head.image_id, head.number] = str(error)
            except Exception as error:  # one label that cannot be written must not stop the others
                _logger.exception("a label was not written as DICOM SEG")
                self._failures[head.image_id, head.number] = type(error).__name__

    def _run(self) -> None:
        while True:
            self._wake.wait(POLL_S)
            with self._sent:
                self._wake.clear()
                self._busy = True
            try:
                self.send_labels()
            except Exception:  # the next round may succeed; without the thread nothing is ever sent
                _logger.exception("sending to the DICOM server failed")
            with self._sent:
                self._rounds, self._busy = self._rounds + 1, False
                self._sent.notify_all()
            try:
                if time.monotonic() - self._listed >= POLL_S or not self._listed:
                    self.update_list()
            except Exception:  # as above
                _logger.exception("listing the series of the DICOM server failed")

    def _send(self, head: Revision) -> None:
        with tempfile.TemporaryDirectory() as folder:
            uid = self._web.store(self._write_seg(head.image_id, head.path, None, Path(folder) / "label.dcm"))
        self._reachable = True
        sent = SegCopy(head.number, uid).to_json()
        self._store.update_label_info(head.image_id, FINAL, {"dicom": sent}, actor="server")
        with self._sent:
            self._sent.notify_all()

    def _update_case(self, case: Case, series: RemoteSeries) -> None:
        """Delete the files of a series that has other instances now; a case with labels or answers keeps their image."""
        labelled = bool(self._store.history(case.id) or self._store.queue.answered(case.id))
        if not labelled:
            self._forget_files(case)
        info = {"instances": series.instances, "unreadable": "", **({"changed": True} if labelled else {})}
        self._store.images.update_info(case.id, info, actor="server")

    def _image_info(self, series: RemoteSeries) -> dict[str, Any]:
        """Return the facts about a series; the patient as a keyed hash only, so that splits are by patient."""
        hashed = self._store.journal.audit.case_hmac(f"patient {series.patient_id}")[:16]
        return {
            "subject": hashed if series.patient_id else series.uid,
            "Modality": series.modality,
            "StudyInstanceUID": series.study_uid,
            "SeriesInstanceUID": series.uid,
            "instances": series.instances,
        }

    def _log_unreachable(self, error: RemoteError) -> None:
        """Log once that the server does not answer, not with every request."""
        if self._reachable:
            _logger.warning("%s", error)
        self._reachable = False
