"""NIfTI-1 and NIfTI-2: ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.paths import atomic_file
from minivess.volume.checks import check_affine, check_budget, check_enough_bytes, check_three_axes
from minivess.volume.model import UM_PER, Unit, Volume

_UNIT_OF_CODE: dict[str, Unit] = {"mm": "mm", "micron": "um"}
_CODE_OF_UNIT = {"mm": "mm", "um": "micron"}


def read_nifti(path: Path, *, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read a NIfTI volume.

    Args:
        path: The file.
        unit: What 1.0 in the affine means. It wins over the header's code, since data sets exist that write um in a
            field meant for mm; without it, the header must state mm or micron.
        limit_bytes: The largest decoded array.

    Raises:
        InputError: When the file is no NIfTI, has not three axes, or states no unit and none was given.
        GeometryError: When the affine is unusable, or sform and qform place the volume differently.
        UnsafeFileError: When the header claims more than the limit or than the file can hold.
    """
    source = path.name
    try:
        image = nib.load(path)
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{source}: this is not a NIfTI file that can be read ({error}).") from error
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{source}: this is not a single-file NIfTI image.")
    header = image.header
    check_three_axes(image.shape, source=source)
    claimed = check_budget(image.shape, header.get_data_dtype().itemsize, limit_bytes=limit_bytes, source=source)
    check_enough_bytes(claimed, path.stat().st_size, compressed=path.suffix == ".gz", source=source)
    unit = unit or _stated_unit(header, source)
    affine = _agreed_affine(header, unit, source)
    try:
        array = _decode(image)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{source}: the voxels cannot be read ({error}). The file is cut off: copy it again.") from error
    return Volume(array.reshape(image.shape[:3]), affine, unit)


def _decode(image: nib.Nifti1Image) -> NDArray[Any]:
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if (slope, intercept) == (1.0, 0.0):
        return np.asarray(image.dataobj)
    return np.asarray(image.dataobj, dtype=np.float32)


def _stated_unit(header: nib.Nifti1Header, source: str) -> Unit:
    code = header.get_xyzt_units()[0]
    if code not in _UNIT_OF_CODE:
        raise InputError(
            f"{source}: the header does not say what its spacing means (unit code {code!r}). "
            "State it: unit='mm' or unit='um' (on the command line: --unit um)."
        )
    return _UNIT_OF_CODE[code]


def _agreed_affine(header: nib.Nifti1Header, unit: Unit, source: str) -> NDArray[np.float64]:
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(pixdim).all() or (pixdim <= 0).any():
        raise GeometryError(f"{source}: pixdim is the size of a voxel and must be positive. Got {pixdim.tolist()}.")
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except (ValueError, HeaderDataError) as error:
        raise GeometryError(f"{source}: the qform is no rotation ({error}).") from error
    if sform_code and sform is not None:
        check_affine(np.asarray(sform, dtype=np.float64), um_per_unit=UM_PER[unit], source=f"{source}, sform")
    if sform_code and qform_code and sform is not None and qform is not None:
        corner = np.array([*(n - 1 for n in header.get_data_shape()[:3]), 1.0])
        apart = max(np.abs((sform - qform)[:, 3]).max(), np.abs((sform - qform) @ corner).max())
        if apart > 0.1 * pixdim.min():
            raise GeometryError(
                f"{source}: sform and qform place the volume differently, by up to {apart:.4g} {unit} "
                f"(a voxel is {pixdim.min():.4g}). Keep the one that is right and clear the other's code."
            )
    return np.asarray(header.get_best_affine(), dtype=np.float64)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume with sform, qform (where the affine is rigid) and the unit's code; booleans become uint8."""
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    image = nib.Nifti1Image(array, volume.affine, dtype=array.dtype)  # the dtype is stated: nibabel refuses int64 else
    image.header.set_xyzt_units(_CODE_OF_UNIT[volume.unit])
    image.set_sform(volume.affine, code="scanner")
    image.set_qform(volume.affine, code="scanner" if _is_rigid(volume.affine) else "unknown")
    with atomic_file(path) as temporary:
        nib.save(image, temporary)


def _is_rigid(affine: NDArray[np.float64]) -> bool:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-6))
