"""A PACS for tests: keeps what it receives, and sends series."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pydicom
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt


class Pacs:
    """A server on loopback; ``objects`` are the datasets that it was sent, by their SOPInstanceUID."""

    def __init__(
        self,
        port: int = 0,
        *,
        without: Collection[UID] = (),
        allowed: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
        syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
    ) -> None:
        self.objects: dict[str, pydicom.Dataset] = {}
        self.refuses: set[str] = set()  # SeriesInstanceUIDs, for now
        self.never: set[str] = set()  # SOP classes, for good
        entity = AE(ae_title="PACS")
        entity.require_calling_aet = list(allowed)
        for context in (c for c in AllStoragePresentationContexts if c.abstract_syntax not in without):
            entity.add_supported_context(context.abstract_syntax, list(syntaxes))
        handlers = [(evt.EVT_C_STORE, self._keep)]
        self._server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = self._server.server_address[1]

    def _keep(self, event: evt.Event) -> int:
        dataset = event.dataset
        if dataset.SeriesInstanceUID in self.refuses:
            return 0xA700
        if dataset.SOPClassUID in self.never:
            return 0xA900
        dataset.file_meta = event.file_meta
        self.objects[str(dataset.SOPInstanceUID)] = dataset
        return 0

    def of(self, modality: str) -> list[pydicom.Dataset]:
        return [d for d in self.objects.values() if d.Modality == modality]

    def stop(self) -> None:
        self._server.shutdown()


def send_files(
    files: Iterable[Path], port: int, *, calling: str = "PACS", called: str = "MINIVESS", tls: ssl.SSLContext | None = None
) -> list[int]:
    """Send files; return their statuses, none where the association was refused."""
    datasets = [pydicom.dcmread(file) for file in files]
    entity = AE(ae_title=calling)
    for kind in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}:
        entity.add_requested_context(*kind)
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=(tls, "127.0.0.1") if tls else None)
    if not association.is_established:
        return []
    statuses = [association.send_c_store(dataset).Status for dataset in datasets]
    association.release()
    return statuses
