"""Find the files of the only image series in a folder; whatever is not DICOM is passed by, and counted."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.misc import is_dicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, EncapsulatedPDFStorage, ParametricMapStorage, RawDataStorage

from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.source_header import shown, text_of, whole_number
from minivess.errors import InputError, MinivessError, OutputError, UnsafeFileError
from minivess.volume.slices import SLICE_SUFFIXES

#: Modalities that do not contain images of a volume.
NO_IMAGES = frozenset({"SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "PR", "KO", "REG", "DOC"})
#: Objects of images that are none of a volume, whatever their modality.
_NO_IMAGE_CLASSES = frozenset({ParametricMapStorage, RawDataStorage, EncapsulatedPDFStorage})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and those of many frames, .1 to .4
#: Largest inflated size of one file of a deflated transfer syntax.
DEFLATED_LIMIT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FoundFiles:
    """What lies in a folder and its sub-folders.

    Attributes:
        series: SeriesInstanceUID to image files.
        ignored: Names of files that are no images.
        links: Names of linked folders, which are not followed.
        damaged: Files that cannot be read, or say of no series, and why.
        doubles: SeriesInstanceUID to the first two of its files that have one SOPInstanceUID.
    """

    series: dict[str, list[Path]]
    ignored: list[str]
    links: list[str]
    damaged: dict[Path, MinivessError]
    doubles: dict[str, tuple[Path, Path]]


def holds_dicom(path: Path) -> bool:
    """Return whether a path is a folder with DICOM files, by their names or preambles. A DICOMDIR does not count."""
    files = [file for file in path.rglob("[!.]*") if file.is_file() and file.stem.upper() != "DICOMDIR"] if path.is_dir() else []
    without_suffix = bool(files) and not any(file.suffix for file in files)  # as scanners export, also where the preamble is lost
    return without_suffix or any(_is_dicom(file) for file in files)


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() == ".dcm" or file.suffix.lower() in SLICE_SUFFIXES:
        return file.suffix.lower() == ".dcm"
    try:
        return bool(is_dicom(file))
    except OSError:
        return False


def find_series(folder: Path) -> tuple[list[Path], FoundFiles]:
    """Find the image files of the only series in a folder and its sub-folders.

    Args:
        folder: Folder of one series; names and order of the files do not matter.

    Returns:
        The files, and what else lies there.

    Raises:
        InputError: When there is no image series or more than one, a file is damaged, or a folder cannot be read.
        UnsafeFileError: When a deflated file inflates beyond its limit.
    """
    found = group_series(folder)
    for error in found.damaged.values():
        raise error
    return _only_series(found.series, folder, len(found.ignored)), found


def group_series(folder: Path) -> FoundFiles:
    """Find the image files of a folder and its sub-folders by their series.

    Args:
        folder: Folder of any number of series.

    Raises:
        InputError: When a folder cannot be read.
    """
    candidates: dict[str, list[Path]] = defaultdict(list)
    kinds: dict[str, set[str]] = defaultdict(set)
    ignored: list[str] = []
    instances: dict[tuple[str, str], Path] = {}
    doubles: dict[str, tuple[Path, Path]] = {}
    files, links = list_files(folder)
    headers, unread, damaged = _read_headers(files)
    for file, header in headers.items():
        kind, uid = text_of(header, "SOPClassUID"), text_of(header, "SeriesInstanceUID")
        if text_of(header, "Modality") in NO_IMAGES or kind in _NO_IMAGE_CLASSES:
            continue
        if not uid:
            damaged[file] = InputError(f"{file.name} has no SeriesInstanceUID. Export it again.")
            continue
        kinds[uid].add(kind)
        candidates[uid].append(file)
        instance = text_of(header, "SOPInstanceUID")
        earlier = instances.setdefault((uid, instance), file)
        if instance and earlier is not file:
            doubles.setdefault(uid, (earlier, file))
    pictures = {uid for uid, of_series in kinds.items() if all(map(is_secondary_capture, of_series))}
    if candidates.keys() - pictures:  # alone, they are what is refused
        ignored += [file.name for uid in pictures for file in candidates.pop(uid)]
    suffixes = {file.suffix.lower() for files in candidates.values() for file in files} or {"", ".dcm"}
    for file, reason in unread.items():
        hidden = file.name.startswith(".")  # what desktop systems leave beside files
        if file.suffix.lower() in suffixes | {".dcm"} and not hidden and not _is_text(file):  # a slice that lost its header
            damaged[file] = reason
        else:
            ignored.append(file.name)
    return FoundFiles(dict(candidates), ignored, links, damaged, doubles)


def _read_headers(
    files: Sequence[Path],
) -> tuple[dict[Path, pydicom.Dataset], dict[Path, InputError], dict[Path, MinivessError]]:
    """Return the headers of files, those that are no DICOM, and those that are damaged."""
    headers: dict[Path, pydicom.Dataset] = {}
    unread: dict[Path, InputError] = {}
    damaged: dict[Path, MinivessError] = {}
    for file in files:
        try:
            headers[file] = _header(file)
        except (InputError, UnsafeFileError, OutputError) as error:
            if isinstance(error, InputError) and isinstance(error.__cause__, InvalidDicomError):
                unread[file] = error
            else:
                damaged[file] = error
    return headers, unread, damaged


def is_secondary_capture(kind: str) -> bool:
    """Return whether a SOPClassUID is that of a secondary capture, of one frame or of many."""
    return kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}.")


def list_files(folder: Path) -> tuple[list[Path], list[str]]:
    """List all files but the DICOMDIR, and the linked folders."""

    def refuse(error: OSError) -> None:
        name = Path(error.filename or folder).name
        raise InputError(f"The folder {name} cannot be read ({error.strerror}): slices in it would be missing. Allow reading it.")

    found, links = [], []
    for at, folders, names in os.walk(folder, onerror=refuse):
        found += [Path(at) / name for name in names]
        links += [name for name in folders if (Path(at) / name).is_symlink()]
    # a link without its target is a file that is missing
    return sorted(f for f in found if (f.is_file() or f.is_symlink()) and f.stem.upper() != "DICOMDIR"), links


def _header(file: Path) -> pydicom.Dataset:
    """Read what tells series apart."""
    with damaged_dicom(file.name):
        if file.stat().st_size == 0:
            raise InvalidDicomError("the file is empty")
        check_deflated(file)
        tags = ["SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "SpecificCharacterSet"]
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)


def check_deflated(file: Path) -> None:
    """Refuse a deflated file that inflates beyond the limit, before pydicom inflates it as a whole."""
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with file.open("rb") as stream:
        read_preamble(stream, force=False)
        # as pydicom does: the stated length of the group is not believed
        meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _n: tag.group != 2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        while chunk := stream.read(2**16):
            while chunk:
                size += len(inflater.decompress(chunk, 2**20))
                chunk = inflater.unconsumed_tail
                if size > DEFLATED_LIMIT_BYTES:
                    raise UnsafeFileError(
                        f"{file.name} inflates beyond {DEFLATED_LIMIT_BYTES // 2**20} MB. Export it without deflation."
                    )


def _is_text(file: Path) -> bool:
    """Return whether a file without suffix is plain text, such as a README."""
    start = file.read_bytes()[:4096]
    return bool(start) and not file.suffix and b"\0" not in start and start.isascii()


def _only_series(candidates: dict[str, list[Path]], folder: Path, ignored: int) -> list[Path]:
    if not candidates:
        raise InputError(f"No DICOM image series in {folder}, only {ignored} other files. Choose the folder of one series.")
    if len(candidates) > 1:
        rows = []
        for uid, files in candidates.items():
            header = pydicom.dcmread(files[0], stop_before_pixels=True)
            number, modality = whole_number(header.get("SeriesNumber")), shown(text_of(header, "Modality")) or "-"
            rows.append(f"  {shown(uid)}: {len(files)} files, {modality}, series number {number}, in {files[0].parent.name}/")
        raise InputError(
            f"{len(candidates)} image series in {folder.name}; exactly one is required:\n"
            + "\n".join(rows)
            + "\nPut each series in a folder of its own."
        )
    return next(iter(candidates.values()))
