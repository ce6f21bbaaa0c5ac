"""Which reader and which writer a path asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from minivess.errors import InputError
from minivess.volume.checks import LIMIT_BYTES, check_finite
from minivess.volume.model import Unit, Volume
from minivess.volume.nifti import read_nifti, write_nifti
from minivess.volume.nrrd_file import read_nrrd, write_nrrd
from minivess.volume.slices import read_slices
from minivess.volume.tiff import read_tiff, write_tiff

_WRITERS: dict[str, Callable[[Volume, Path], None]] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_nrrd,
    ".ome.tif": write_tiff,
    ".ome.tiff": write_tiff,
    ".tif": write_tiff,
    ".tiff": write_tiff,
}
VOLUME_SUFFIXES = tuple(_WRITERS)


def suffix_of(path: Path) -> str:
    """Find the suffix that names the format, ``.nii.gz`` before ``.gz``; empty where it names none."""
    name = path.name.lower()
    return next((suffix for suffix in VOLUME_SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """Take the name without the suffix that names the format; a folder's name as it is."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def read_volume(
    path: Path | str,
    *,
    spacing: tuple[float, ...] | None = None,
    unit: Unit | None = None,
    limit_bytes: int = LIMIT_BYTES,
) -> Volume:
    """Read a volume from NIfTI, single-file NRRD, TIFF, OME-TIFF or a folder of slices.

    Args:
        path: File or folder.
        spacing: Voxel size along x, y, z, for formats that do not carry it (TIFF, slices).
        unit: What the spacing means, ``"mm"`` or ``"um"``; it wins over what the file states.
        limit_bytes: The largest decoded array; a header that claims more is refused before data is read.

    Raises:
        InputError: When the file is missing, of another format, holds NaN, or does not say what is needed.
        GeometryError: When its geometry is no regular volume.
        UnsafeFileError: When it claims more than allowed, or names another file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"No such file or folder: {path}")
    suffix = suffix_of(path)
    if path.is_dir():
        volume = read_slices(path, spacing=spacing, unit=unit, limit_bytes=limit_bytes)
    elif suffix in (".nii", ".nii.gz"):
        _refuse_spacing(spacing, path)
        volume = read_nifti(path, unit=unit, limit_bytes=limit_bytes)
    elif suffix == ".nrrd":
        _refuse_spacing(spacing, path)
        volume = read_nrrd(path, unit=unit, limit_bytes=limit_bytes)
    elif suffix:
        volume = read_tiff(path, spacing=spacing, unit=unit, limit_bytes=limit_bytes)
    else:
        raise InputError(
            f"{path.name}: unknown format. Allowed: {', '.join(VOLUME_SUFFIXES)}, or a folder of slices. "
            "For a DICOM series use `minivess map run` or `minivess.dicom.read_series`."
        )
    check_finite(volume.array, source=path.name)
    return volume


def _refuse_spacing(spacing: tuple[float, ...] | None, path: Path) -> None:
    if spacing is not None:
        raise InputError(f"{path.name}: this format carries its own spacing; leave out spacing={spacing}.")


def write_volume(volume: Volume, path: Path | str) -> Path:
    """Write a volume atomically as NIfTI, NRRD or OME-TIFF, by the suffix of ``path``.

    Raises:
        InputError: When the suffix names no format that is written.
        GeometryError: When the format cannot store the volume's axes.
        OutputError: When the folder cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if not suffix:
        raise InputError(f"{path.name}: unknown format. Allowed: {', '.join(VOLUME_SUFFIXES)}.")
    _WRITERS[suffix](volume, path)
    return path
