"""Read and write volumes; the reader or writer is chosen by the suffix of the path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from minivess.errors import InputError, MinivessError
from minivess.volume.checks import LIMIT_BYTES, check_finite
from minivess.volume.metaimage import read_metaimage, write_metaimage
from minivess.volume.nifti import read_nifti, write_nifti
from minivess.volume.nrrd_file import read_nrrd, write_nrrd
from minivess.volume.planes import ALL_PLANES, Planes
from minivess.volume.slices import read_slices
from minivess.volume.tiff import read_tiff, write_tiff
from minivess.volume.units import Unit
from minivess.volume.volume import Volume

_WRITERS: dict[str, Callable[[Volume, Path], None]] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_nrrd,
    ".mha": write_metaimage,
    ".mhd": write_metaimage,
    ".ome.tif": write_tiff,
    ".ome.tiff": write_tiff,
    ".tif": write_tiff,
    ".tiff": write_tiff,
}
#: Suffixes of the supported file formats.
VOLUME_SUFFIXES = tuple(_WRITERS)
_ONE_CHANNEL = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def suffix_of(path: Path) -> str:
    """Return the suffix that names the file format, such as ``.nii.gz``; an empty string when it is not supported."""
    name = path.name.lower()
    return next((suffix for suffix in VOLUME_SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """Return the file name without the suffix of its format; the whole name when it has none, also of the folder ``.``."""
    path = path if path.name else path.resolve()
    return path.name[: len(path.name) - len(suffix_of(path))]


def read_volume(
    path: Path | str,
    *,
    spacing: tuple[float, ...] | None = None,
    unit: Unit | None = None,
    planes: Planes = ALL_PLANES,
    limit_bytes: int = LIMIT_BYTES,
) -> Volume:
    """Read a volume from NIfTI, single-file NRRD, MetaImage, TIFF, OME-TIFF or a folder of slices.

    Args:
        path: File or folder.
        spacing: Voxel size along x, y, z, for formats that do not store it (TIFF, slices).
        unit: Unit of the spacing, ``"mm"`` or ``"um"``; it overrides the unit that the file states.
        planes: Which planes of a TIFF file with several channels or time points are read.
        limit_bytes: Maximum size of the decoded array; a header that claims more is refused before the voxels are read.

    Returns:
        The volume with axes (x, y, z), in the dtype of the file (float32 where a NIfTI header scales the values).

    Raises:
        InputError: When the file is missing or damaged, has an unknown format, contains NaN, or lacks spacing or unit.
        GeometryError: When its affine or its slices do not describe one regular volume.
        UnsafeFileError: When its header claims more than the limit or the file can hold, or names another file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"No such file or folder: {path}. Check the path.")
    try:
        with np.errstate(all="ignore"):  # numbers of a header may be nonsense
            volume = _read(path, spacing, unit, planes, limit_bytes)
    except (MinivessError, MemoryError):
        raise
    except Exception as error:  # the readers' libraries raise any kind for a header that is nonsense
        kind = type(error).__name__
        raise InputError(
            f"{path.name}: the file cannot be read ({kind}: {error}). It is damaged or has another format."
        ) from error
    check_finite(volume.array, source=path.name)
    return volume


def _read(path: Path, spacing: tuple[float, ...] | None, unit: Unit | None, planes: Planes, limit_bytes: int) -> Volume:
    suffix = suffix_of(path)
    if path.is_dir() or suffix in _ONE_CHANNEL:
        planes.refuse_others(path.name)
    if path.is_dir():
        volume = read_slices(path, spacing=spacing, unit=unit, limit_bytes=limit_bytes)
    elif suffix in (".nii", ".nii.gz"):
        _refuse_spacing(spacing, path)
        volume = read_nifti(path, unit=unit, limit_bytes=limit_bytes)
    elif suffix == ".nrrd":
        _refuse_spacing(spacing, path)
        volume = read_nrrd(path, unit=unit, limit_bytes=limit_bytes)
    elif suffix in (".mha", ".mhd"):
        _refuse_spacing(spacing, path)
        volume = read_metaimage(path, unit=unit, limit_bytes=limit_bytes)
    elif suffix:
        volume = read_tiff(path, spacing=spacing, unit=unit, planes=planes, limit_bytes=limit_bytes)
    else:
        raise InputError(
            f"{path.name}: unknown format. Allowed: {', '.join(VOLUME_SUFFIXES)}, or a folder of slices. A DICOM series is "
            "converted first: minivess data convert. Export other formats as OME-TIFF, for example with Fiji (Bio-Formats)."
        )
    return volume


def _refuse_spacing(spacing: tuple[float, ...] | None, path: Path) -> None:
    if spacing is not None:
        raise InputError(f"{path.name}: this format stores the spacing in the file. Leave out the spacing (--spacing).")


def write_volume(volume: Volume, path: Path | str) -> Path:
    """Write a volume atomically as NIfTI, NRRD, MetaImage or OME-TIFF, chosen by the suffix of ``path``.

    Args:
        volume: Volume to write; booleans are stored as uint8.
        path: File to write; missing folders are created.

    Returns:
        The path.

    Raises:
        InputError: When the suffix is not supported.
        GeometryError: When the format cannot store the directions of the volume's axes.
        OutputError: When the file cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if not suffix:
        raise InputError(f"{path.name}: unknown format. Allowed: {', '.join(VOLUME_SUFFIXES)}.")
    _WRITERS[suffix](volume, path)
    return path
