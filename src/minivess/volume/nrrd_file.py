"""Read and write NRRD in a single file; a header that names a second file is refused before that file is opened."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import IO, Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError, UnsafeFileError
from minivess.paths import atomic_file
from minivess.volume.checks import check_budget, check_enough_bytes, check_three_axes
from minivess.volume.units import Unit
from minivess.volume.volume import Volume, affine_from_spacing

#: Space of the header -> sign of each axis in RAS.
_RAS_FROM_SPACE = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_UNIT_FROM_TEXT: dict[str, Unit] = {"mm": "mm", "um": "um", "µm": "um", "μm": "um", "micron": "um"}


def read_nrrd(path: Path, *, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read a single-file NRRD volume.

    Args:
        path: File to read.
        unit: Unit of the space directions; it overrides the ``space units`` of the header.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When the file is not NRRD, is damaged, does not have three axes, or neither states a unit nor one is
            passed.
        GeometryError: When the space is unknown, or the header has neither space directions nor spacings.
        UnsafeFileError: When the header names a data file, or claims more than the limit or than the file can hold.
    """
    source = path.name
    try:
        with path.open("rb") as stream:
            header = nrrd.read_header(stream)
            _refuse_other_files(header, source)
            if "list" in [str(kind) for kind in header.get("kinds", [])] and len(header["sizes"]) == 4:
                raise InputError(
                    f"{source}: the segments overlap and are saved in several layers. Export the segment of the vessels alone."
                )
            shape = tuple(int(n) for n in header["sizes"])
            check_three_axes(shape, source=source)
            claimed = check_budget(shape, _dtype_from_header(header).itemsize, limit_bytes=limit_bytes, source=source)
            compressed = str(header.get("encoding", "raw")).lower() in ("gzip", "gz")
            check_enough_bytes(claimed, path.stat().st_size, compressed=compressed, source=source)
            array = _read_voxels(stream, header, claimed, compressed=compressed, source=source)
    except (nrrd.NRRDError, KeyError, ValueError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{source}: the file cannot be read as NRRD ({error}). It is damaged or has another format.") from error
    return Volume(array.reshape(shape[:3]), _affine(header, source), unit or _stated_unit(header, source))


def _refuse_other_files(header: dict[str, Any], source: str) -> None:
    """Refuse a header that names a data file, in any of the spellings that readers accept."""
    for key, value in header.items():
        if re.sub(r"[^a-z]", "", str(key).lower()) == "datafile":
            raise UnsafeFileError(
                f"{source}: the header names another file ({str(value)[:60]!r}). "
                "Only NRRD files that contain their voxels are read. Save it as one .nrrd file."
            )


def _read_voxels(stream: IO[bytes], header: dict[str, Any], claimed: int, *, compressed: bool, source: str) -> NDArray[Any]:
    """Read as many bytes as the header claims and no more, however far the file would inflate."""
    encoding = str(header.get("encoding", "raw")).lower()
    if encoding not in ("raw", "gzip", "gz") or any(int(header.get(key, 0)) for key in ("line skip", "byte skip")):
        raise InputError(f"{source}: encoding {encoding!r} or skipped bytes are not read. Save it as raw or gzip NRRD.")
    if compressed:
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds gzip or zlib by itself
        data = inflate.decompress(stream.read(), claimed + 1)
    else:
        data = stream.read(claimed + 1)
    if len(data) != claimed:
        word = "more" if len(data) > claimed else "fewer"
        raise InputError(f"{source}: the file holds {word} voxels than its header says. It is damaged: copy it again.")
    return np.frombuffer(data, dtype=_dtype_from_header(header)).reshape(tuple(int(n) for n in header["sizes"]), order="F")


def _dtype_from_header(header: dict[str, Any]) -> np.dtype[Any]:
    return np.dtype(nrrd.reader._determine_datatype(header))


def _affine(header: dict[str, Any], source: str) -> NDArray[np.float64]:
    if "space directions" not in header:
        if "spacings" not in header:
            raise GeometryError(f"{source}: the header has neither 'space directions' nor 'spacings'. Add the voxel size.")
        x, y, z = (float(s) for s in header["spacings"][:3])
        return affine_from_spacing((x, y, z))
    space = str(header.get("space", "")).lower()
    if space not in _RAS_FROM_SPACE:
        raise GeometryError(f"{source}: unknown space {space!r}. Allowed: {', '.join(sorted(_RAS_FROM_SPACE))}.")
    flip = np.array(_RAS_FROM_SPACE[space], dtype=np.float64)
    affine = np.eye(4)
    affine[:3, :3] = (np.asarray(header["space directions"], dtype=np.float64)[:3] * flip).T
    affine[:3, 3] = np.asarray(header.get("space origin", (0.0, 0.0, 0.0)), dtype=np.float64) * flip
    return affine


def _stated_unit(header: dict[str, Any], source: str) -> Unit:
    texts = {str(text).strip().lower() for text in header.get("space units", header.get("units", []))} - {""}
    if not texts and "space directions" in header:
        return "mm"  # the NRRD definition: anatomical spaces are in mm unless the header states otherwise
    if len(texts) != 1 or not texts <= set(_UNIT_FROM_TEXT):
        raise InputError(
            f"{source}: the header does not state the unit of the spacing (units {sorted(texts) or 'absent'}). "
            "Pass unit='mm' or unit='um' (on the command line: --unit um)."
        )
    return _UNIT_FROM_TEXT[texts.pop()]


def write_nrrd(volume: Volume, path: Path) -> None:
    """Write a volume as gzip-compressed NRRD in left-posterior-superior space, as 3D Slicer and ITK do.

    The file is always in mm: ITK converts a NIfTI image in um to mm, but reads the numbers of an NRRD file as mm whatever its
    ``space units`` are. In Slicer, an image in um and its mask would otherwise differ in size by a factor of 1000.

    Args:
        volume: Volume to write, in mm or um; booleans are stored as uint8, float16 as float32.
        path: File to write.

    Raises:
        OutputError: When the file cannot be written.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.in_unit("mm").affine
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "space units": ["mm"] * 3,
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }
    with atomic_file(path) as temporary:
        nrrd.write(str(temporary), array, header, index_order="F", compression_level=4)
