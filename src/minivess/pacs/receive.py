"""Receive images by C-STORE (PS3.4, annex B), by pynetdicom."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from typing import cast

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from minivess.errors import OutputError
from minivess.pacs.entity import TIMEOUT_S, new_entity
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
#: So long a caller may be silent before it has said who it is; a thread waits for each.
_SILENCE_S = 10.0
_MOST_CALLERS = 50
#: Not deflated: pynetdicom inflates what comes as a whole, and 10 MB may be 10 GB.
_TRANSFER_SYNTAXES = [uid for uid in ALL_TRANSFER_SYNTAXES if "Deflated" not in UID(uid).name]
#: Result, source and reason of a rejection: too many associations at a time (PS3.8, table 9-21).
_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)
_logger = logging.getLogger(__name__)


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
    handlers += [(evt.EVT_CONN_OPEN, _limit_silence, [_SILENCE_S]), (evt.EVT_ACCEPTED, _limit_silence, [TIMEOUT_S])]
    handlers += [(evt.EVT_REJECTED, _say_rejected)]
    entity = new_entity(title)
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
