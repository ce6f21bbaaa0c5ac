"""Send results by C-STORE (PS3.4, annex B), by pynetdicom."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ParametricMapStorage,
)
from pynetdicom import evt
from pynetdicom.association import Association

from minivess.errors import InputError, RemoteError
from minivess.pacs.entity import Peer, new_entity
from minivess.pacs.tls import DicomContext

#: What may be left out where a PACS does not take it; a segmentation or its pictures must arrive.
_BESIDE = {str(Comprehensive3DSRStorage), str(ParametricMapStorage)}
#: Every application offers the default syntax (PS3.5, section 10.1); a PACS may take nothing else.
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_STORED, _CLASS_NOT_SUPPORTED = 0x0000, 0x0122
_logger = logging.getLogger(__name__)
#: No status of the standard.
_NOT_OFFERED, _NO_ANSWER = -1, -2


def send(files: Iterable[Path], peer: Peer, *, title: str, tls: DicomContext | None = None) -> list[str]:
    """Send files, and wait until each is acknowledged.

    Args:
        files: DICOM files.
        peer: Where to.
        title: Our AE title.
        tls: See :func:`minivess.pacs.tls.calling_context`; None sends in the clear.

    Returns:
        Names of the kinds of objects that the peer does not take, and that may be left out.

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
    association = _associate(datasets, peer, title=title, tls=tls)
    taken = {(str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts}
    try:
        answers = [(dataset, _store(association, dataset, taken)) for dataset in datasets]
    except RuntimeError as error:
        raise RemoteError(f"{peer.title} broke the connection off.") from error
    finally:
        association.release()
    shown = [dataset for dataset in datasets if str(dataset.SOPClassUID) not in _BESIDE]
    if shown and not any(_can_store(dataset, taken) for dataset in shown):
        kinds = sorted({dataset.SOPClassUID.name for dataset in shown})
        raise RemoteError(f"{peer.title} does not take {', '.join(kinds)}: allow it there.")
    failed = [(dataset, status) for dataset, status in answers if status not in (_STORED, _NOT_OFFERED)]
    lost = [row for row in failed if not (str(row[0].SOPClassUID) in _BESIDE and _is_for_good(row[1]))]
    if lost:
        dataset, status = lost[0]
        said = f"status 0x{status:04X}" if status >= 0 else "no answer"
        raise RemoteError(
            f"{peer.title} did not store {len(lost)} of {len(datasets)} objects, the first: {dataset.SOPClassUID.name}, {said}."
        )
    return sorted({dataset.SOPClassUID.name for dataset, status in answers if status != _STORED})


def _associate(datasets: Iterable[pydicom.Dataset], peer: Peer, *, title: str, tls: DicomContext | None) -> Association:
    """Call the peer, and offer every object in its own syntax and in uncompressed ones."""
    entity = new_entity(title)
    for kind, own in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}):
        for syntax in dict.fromkeys((own, *_UNCOMPRESSED)):  # one by one: of several in one context the peer chooses
            entity.add_requested_context(kind, syntax)
    secured, opened = (tls, peer.host) if tls else None, threading.Event()
    noting: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, lambda _: opened.set())]
    association = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=secured, evt_handlers=noting)
    if not association.is_established:
        raise RemoteError(
            f"{peer.title} at {peer.host}:{peer.port} {_why_not(association, title, tls, is_reached=opened.is_set())}."
        )
    return association


def _can_store(dataset: pydicom.Dataset, taken: Collection[tuple[str, str]]) -> bool:
    own = dataset.file_meta.TransferSyntaxUID
    others = _UNCOMPRESSED if own.is_little_endian else ()  # nobody turns the bytes of a big-endian object
    return any((str(dataset.SOPClassUID), str(syntax)) in taken for syntax in (own, *others))


def _store(association: Association, dataset: pydicom.Dataset, taken: Collection[tuple[str, str]]) -> int:
    """Send one object, in another syntax where its own is not taken; return the status of the answer."""
    if not _can_store(dataset, taken):
        return _NOT_OFFERED
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and (str(dataset.SOPClassUID), str(syntax)) not in taken:
        try:
            dataset.decompress(generate_instance_uid=False)  # to Explicit VR; pynetdicom converts that to Implicit
        except Exception as error:  # noqa: BLE001 (a decoder's own; the other objects must arrive)
            _logger.warning("%s cannot be sent uncompressed: %s", dataset.SOPClassUID.name, type(error).__name__)
            return _NOT_OFFERED
    status = int(association.send_c_store(dataset).get("Status", _NO_ANSWER))
    return _STORED if status >> 12 == 0xB else status  # 0xBxxx are warnings


def _is_for_good(status: int) -> bool:
    """Return whether a status is about the object, so that it will never be stored (PS3.4, table B.2-1)."""
    return status >> 8 == 0xA9 or status >> 12 == 0xC or status == _CLASS_NOT_SUPPORTED


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


def dicom_files(folder: Path) -> list[Path]:
    """List the DICOM files of a result, at any depth, whatever their names."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if file.suffix == ".dcm" or is_dicom(file)]
