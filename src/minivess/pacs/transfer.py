"""DICOM C-STORE in both directions (PS3.4, annex B), by pynetdicom."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    ParametricMapStorage,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from minivess.errors import InputError, OutputError, RemoteError, UsageError
from minivess.pacs.spool import SeriesSpool
from minivess.pacs.tls import DicomContext

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
#: What may be left out where a PACS does not take it; a segmentation or its pictures must arrive.
_BESIDE = {str(Comprehensive3DSRStorage), str(ParametricMapStorage)}
_TIMEOUT_S = 60.0
#: So long a caller may be silent before it has said who it is; a thread waits for each.
_SILENCE_S = 10.0
_MOST_CALLERS = 50
#: Not deflated: pynetdicom inflates what comes as a whole, and 10 MB may be 10 GB.
_TRANSFER_SYNTAXES = [uid for uid in ALL_TRANSFER_SYNTAXES if "Deflated" not in UID(uid).name]
#: Result, source and reason of a rejection: too many associations at a time (PS3.8, table 9-21).
_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)
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
    match = re.fullmatch(r"(?P<title>[^@]+)@(?P<host>[^@\s]+):(?P<port>\d{1,5})", text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise UsageError(f"A DICOM application is AET@HOST:PORT, for example PACS@10.0.0.5:104. Got {text!r}.")
    return Peer(match["host"].strip("[]"), int(match["port"]), check_title(match["title"]))


def receive(
    spool: SeriesSpool, *, host: str, port: int, title: str, allowed: Iterable[str], tls: DicomContext | None = None
) -> ThreadedAssociationServer:
    """Start to receive images in threads; an image is acknowledged when it is on the disk.

    Args:
        spool: Keeps them.
        host: Address to listen at.
        port: Port; 0 takes a free one.
        title: Our AE title, which senders must call.
        allowed: AE titles that may send; all when it is empty.
        tls: See :func:`minivess.pacs.tls.listening_context`; None receives in the clear.

    Returns:
        The server; ``shutdown`` ends it.

    Raises:
        OutputError: When the port is taken.
    """
    handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, _keep, [spool])]
    handlers += [(end, _end, [spool]) for end in (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)]
    handlers += [(evt.EVT_CONN_OPEN, _limit_silence, [_SILENCE_S]), (evt.EVT_ACCEPTED, _limit_silence, [_TIMEOUT_S])]
    handlers += [(evt.EVT_REJECTED, _say_rejected)]
    entity = _entity(title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(allowed)
    entity.maximum_associations = _MOST_CALLERS
    entity.acse_timeout = _SILENCE_S
    entity.add_supported_context(Verification)
    for image in IMAGES:
        entity.add_supported_context(image, _TRANSFER_SYNTAXES)
    try:
        server = entity.start_server((host, port), block=False, evt_handlers=handlers, ssl_context=tls)
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
        uids = str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)
        spool.add(*uids, event.encoded_dataset(), sender=event.assoc)
    except OSError as error:
        _logger.warning("An image was not received: %s", error.strerror or type(error).__name__)
        return OUT_OF_RESOURCES
    except Exception as error:  # noqa: BLE001 (pydicom raises what it likes, and quotes values)
        _logger.warning("An image was not received, since its header is damaged: %s", type(error).__name__)
        return CANNOT_UNDERSTAND
    return SUCCESS


def _limit_silence(event: evt.Event, timeout_s: float) -> None:
    """Limit how long the thread of a connection waits for the rest of a message, or of an exchange of keys."""
    if event.assoc.dul.socket is not None and event.assoc.dul.socket.socket is not None:
        event.assoc.dul.socket.socket.settimeout(timeout_s)


def _say_rejected(event: evt.Event) -> None:
    said = event.assoc.acceptor.primitive
    is_full = said is not None and (said.result, said.result_source, said.diagnostic) == _LIMIT_EXCEEDED
    why = f"{_MOST_CALLERS} others are connected" if is_full else "its AE title is not allowed, or it called another one"
    _logger.warning("A caller at %s was turned away: %s.", event.assoc.requestor.address, why)


def _end(event: evt.Event, spool: SeriesSpool) -> None:
    spool.end_sender(event.assoc)


def send(files: Iterable[Path], peer: Peer, *, title: str, tls: DicomContext | None = None) -> list[str]:
    """Send files, and wait until each is acknowledged.

    Args:
        files: DICOM files.
        peer: Where to.
        title: Our AE title.
        tls: See :func:`minivess.pacs.tls.calling_context`; None sends in the clear.

    Returns:
        Names of the kinds of objects that the peer does not take at all; their files were not sent.

    Raises:
        InputError: When a file cannot be read.
        RemoteError: When the peer cannot be reached, takes neither segmentation nor pictures, or does not store a file; all
            others were sent.
    """
    try:
        datasets = [pydicom.dcmread(file) for file in files]
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise InputError(f"A file of the result cannot be read: {type(error).__name__}.") from error
    if not datasets:
        return []
    entity = _entity(title)
    for kind in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}):
        entity.add_requested_context(*kind)
    secured, opened = (tls, peer.host) if tls else None, threading.Event()
    noting: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, lambda _: opened.set())]
    association = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=secured, evt_handlers=noting)
    if not association.is_established:
        raise RemoteError(
            f"{peer.title} at {peer.host}:{peer.port} {_why_not(association, title, tls, is_reached=opened.is_set())}."
        )
    taken = {str(context.abstract_syntax) for context in association.accepted_contexts}
    try:
        failed = [said for d in datasets if str(d.SOPClassUID) in taken and (said := _store(association, d))]
    except RuntimeError as error:
        raise RemoteError(f"{peer.title} broke the connection off.") from error
    finally:
        association.release()
    shown = {str(d.SOPClassUID) for d in datasets} - _BESIDE
    if shown and shown.isdisjoint(taken):
        raise RemoteError(f"{peer.title} does not take {', '.join(sorted(UID(kind).name for kind in shown))}: allow it there.")
    if failed:
        raise RemoteError(f"{peer.title} did not store {len(failed)} of {len(datasets)} objects, the first: {failed[0]}.")
    return sorted({d.SOPClassUID.name for d in datasets} - {UID(kind).name for kind in taken})


def _why_not(association: Association, title: str, tls: DicomContext | None, *, is_reached: bool) -> str:
    """Return why there is no association."""
    if tls is not None and tls.fault:
        advice = ". Its certificate must name that host as SubjectAltName" if "mismatch" in tls.fault else ""
        return f"and we do not agree on TLS: {tls.fault}{advice}"
    if association.is_rejected:
        return f"turns our call away: let {title} send there"
    if is_reached:
        return f"broke the call off: it takes no objects of {title}{'' if tls else ', or wants TLS'}"
    return "cannot be reached: is it running, and is the port open"


def _store(association: Association, dataset: pydicom.Dataset) -> str:
    """Send one object; return what went wrong."""
    code = association.send_c_store(dataset).get("Status")
    if code is None:
        return f"{dataset.SOPClassUID.name}, no answer"
    is_stored = code == SUCCESS or code >> 12 == 0xB  # 0xBxxx are warnings
    return "" if is_stored else f"{dataset.SOPClassUID.name}, status 0x{code:04X}"


def dicom_files(folder: Path) -> list[Path]:
    """List the DICOM files of a result, at any depth, whatever their names."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if file.suffix == ".dcm" or is_dicom(file)]


def check_title(title: str) -> str:
    """Return an AE title (PS3.5, table 6.2-1).

    Raises:
        UsageError: When it is none.
    """
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", title) or not title.strip():
        raise UsageError(f"An AE title has 1 to 16 ASCII characters, no backslash. Got {title!r}.")
    return title


def _entity(title: str) -> AE:
    entity = AE(ae_title=title)
    entity.connection_timeout = 10.0
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    return entity
