"""DICOM C-STORE in both directions (PS3.4, annex B), by pynetdicom."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pydicom
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from minivess.errors import MinivessError, OutputError, RemoteError, UsageError
from minivess.pacs.spool import SeriesSpool

#: What is received: images that the MAP can read.
IMAGES = (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
#: Free space of the disk below which nothing more is received.
FREE_BYTES = 2 * 2**30
#: Status of a C-STORE (PS3.4, table B.2-1).
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_TIMEOUT_S = 60.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Peer:
    """A DICOM application that results are sent to.

    Attributes:
        host: Its address.
        port: Its port.
        title: Its AE title.
    """

    host: str
    port: int
    title: str


def parse_peer(text: str) -> Peer:
    """Read AET@HOST:PORT.

    Raises:
        UsageError: When it is something else.
    """
    match = re.fullmatch(r"(?P<title>[^@\\]{1,16})@(?P<host>[^@\s]+):(?P<port>\d{1,5})", text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise UsageError(f"A DICOM application is AET@HOST:PORT, for example PACS@10.0.0.5:104. Got {text!r}.")
    return Peer(match["host"].strip("[]"), int(match["port"]), match["title"])


def receive(spool: SeriesSpool, *, host: str, port: int, title: str, allowed: Iterable[str]) -> ThreadedAssociationServer:
    """Start to receive images in threads; an image is acknowledged when it is on the disk.

    Args:
        spool: Keeps them.
        host: Address to listen at.
        port: Port; 0 takes a free one.
        title: Our AE title, which senders must call.
        allowed: AE titles that may send; all when it is empty.

    Returns:
        The server; ``shutdown`` ends it.

    Raises:
        OutputError: When the port is taken.
    """
    entity = _entity(title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(allowed)
    entity.maximum_associations = 20
    entity.add_supported_context(Verification)
    for image in IMAGES:
        entity.add_supported_context(image, ALL_TRANSFER_SYNTAXES)
    try:
        server = entity.start_server((host, port), block=False, evt_handlers=[(evt.EVT_C_STORE, _keep, [spool])])
    except OSError as error:
        raise OutputError(f"Port {port} cannot be listened at ({error.strerror}). Choose another --port.") from error
    return cast(ThreadedAssociationServer, server)  # block=False: it is one


def _keep(event: evt.Event, spool: SeriesSpool) -> int:
    """Keep one image; the answer is its status."""
    if shutil.disk_usage(spool.folder).free < FREE_BYTES:
        _logger.warning("The disk of the spool is nearly full: an image was not received.")
        return OUT_OF_RESOURCES
    try:
        dataset = event.dataset
        spool.add(str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID), event.encoded_dataset())
    except OutputError as error:
        _logger.warning("An image was not received: %s", error)
        return OUT_OF_RESOURCES
    except (MinivessError, AttributeError, ValueError, TypeError) as error:
        _logger.warning("An image was not received, since its header is damaged: %s", type(error).__name__)
        return CANNOT_UNDERSTAND
    return SUCCESS


def send(files: Iterable[Path], peer: Peer, *, title: str) -> None:
    """Send files, and wait until each is acknowledged.

    Args:
        files: DICOM files.
        peer: Where to.
        title: Our AE title.

    Raises:
        RemoteError: When the peer cannot be reached, or does not take a file.
    """
    datasets = [pydicom.dcmread(file) for file in files]
    entity = _entity(title)
    for kind in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}):
        entity.add_requested_context(*kind)
    association = entity.associate(peer.host, peer.port, ae_title=peer.title)
    if not association.is_established:
        raise RemoteError(f"{peer.title} at {peer.host}:{peer.port} cannot be reached, or does not take our calls as {title}.")
    try:
        for dataset in datasets:
            try:
                status = association.send_c_store(dataset)
            except ValueError as error:  # no accepted presentation context
                raise RemoteError(f"{peer.title} does not take {dataset.SOPClassUID.name}.") from error
            code = status.get("Status")
            if code != SUCCESS and not (code is not None and code >> 12 == 0xB):  # 0xBxxx are warnings: it was stored
                said = "no answer" if code is None else f"status 0x{code:04X}"
                raise RemoteError(f"{peer.title} did not store {dataset.SOPClassUID.name}: {said}.")
    finally:
        association.release()


def _entity(title: str) -> AE:
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    return entity
