"""Read and write NIfTI-1 and NIfTI-2: ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.paths import atomic_file
from minivess.volume.checks import check_affine, check_budget, check_enough_bytes, check_three_axes
from minivess.volume.units import UM_PER_UNIT, Unit
from minivess.volume.volume import GRID_TOLERANCE, Volume, largest_distance

_UNIT_FROM_CODE: dict[str, Unit] = {"mm": "mm", "micron": "um"}
_BLOCK = 2**20
_CODE_FROM_UNIT = {"mm": "mm", "um": "micron"}


def read_nifti(path: Path, *, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read a NIfTI volume.

    Args:
        path: File to read.
        unit: Unit of the affine. It overrides the unit code of the header, because some data sets (MiniVess) are in um
            with the code for mm. Without it, the header must state mm or micron.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When the file is not NIfTI, is damaged, does not have three axes, or neither states a unit nor one is
            passed.
        GeometryError: When the affine is not usable, or sform and qform differ.
        UnsafeFileError: When the header claims more than the limit or than the file can hold.
    """
    source = path.name
    try:
        image = nib.load(path)
    except (ImageFileError, OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{source}: the file cannot be read as NIfTI ({error}). It is damaged or has another format.") from error
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{source}: only single-file NIfTI is read. Got {type(image).__name__}. Save it as .nii.gz.")
    header = image.header
    offset = float(image.dataobj.offset)
    if not np.isfinite(offset) or offset < header.sizeof_hdr + 4:
        raise InputError(f"{source}: the voxels begin at byte {offset:g} (vox_offset), inside the header. The file is damaged.")
    check_three_axes(image.shape, source=source)
    claimed = check_budget(image.shape, header.get_data_dtype().itemsize, limit_bytes=limit_bytes, source=source)
    check_enough_bytes(claimed, path.stat().st_size, compressed=path.suffix.lower() == ".gz", source=source)
    unit = unit or _stated_unit(header, source)
    affine = _agreed_affine(header, unit, source)
    try:
        array = _decode(image, path)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(
            f"{source}: the voxels cannot be read ({error}). The file is cut off or damaged: copy it again."
        ) from error
    return Volume(array.reshape(image.shape[:3]), affine, unit)


def _decode(image: nib.Nifti1Image, path: Path) -> NDArray[Any]:
    """Read the voxels. Of a compressed file the stream is read to its end, where its checksum is: nibabel leaves it unread."""
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if not np.isfinite([slope, intercept]).all():
        raise InputError(f"The header scales the values by {slope} and adds {intercept}, which are not finite. It is damaged.")
    dtype = None if (slope, intercept) == (1.0, 0.0) else np.float32
    if path.suffix.lower() != ".gz":
        return np.asarray(image.dataobj, dtype=dtype)
    stored = (image.dataobj.shape, image.dataobj.dtype, image.dataobj.offset, slope, intercept)
    with gzip.open(path) as stream:
        array = np.asarray(ArrayProxy(stream, stored), dtype=dtype)
        stream.read(_BLOCK)
        if stream.read(1):
            raise InputError(f"{path.name}: more than {_BLOCK} bytes follow the voxels. The file is damaged.")
    return array


def _stated_unit(header: nib.Nifti1Header, source: str) -> Unit:
    code = header.get_xyzt_units()[0]
    if code not in _UNIT_FROM_CODE:
        raise InputError(
            f"{source}: the header does not state the unit of the spacing (unit code {code!r}). "
            "Pass unit='mm' or unit='um' (on the command line: --unit um)."
        )
    return _UNIT_FROM_CODE[code]


def _agreed_affine(header: nib.Nifti1Header, unit: Unit, source: str) -> NDArray[np.float64]:
    """Return the affine as ITK and FSL read it: the sform, or the qform, or the pixdims alone ("method 1")."""
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(pixdim).all() or (pixdim <= 0).any():
        raise GeometryError(f"{source}: pixdim, the voxel size, must be positive. Got {pixdim.tolist()}.")
    sform, sform_code = header.get_sform(coded=True)
    qform = _qform(header, source, required=not sform_code)
    if not sform_code and qform is None:
        return np.diag([-pixdim[0], -pixdim[1], pixdim[2], 1.0])  # both codes 0: ITK's x to the left, y to the back, from 0
    if not sform_code or sform is None:
        return np.asarray(qform, dtype=np.float64)
    sform = np.asarray(sform, dtype=np.float64)
    check_affine(sform, um_per_unit=UM_PER_UNIT[unit], source=f"{source}, sform")
    if qform is not None:
        distance = largest_distance(sform, qform, header.get_data_shape()) / pixdim.min()
        if distance > GRID_TOLERANCE:
            raise GeometryError(
                f"{source}: sform and qform differ by up to {distance:.3g} voxels (edges of the smallest voxel); allowed are "
                f"{GRID_TOLERANCE}. Keep the correct one and set the code of the other one to 0."
            )
    return sform


def _qform(header: nib.Nifti1Header, source: str, *, required: bool) -> NDArray[np.float64] | None:
    """Return the qform; None when its code is 0, or when it is not a rotation and not required."""
    if not int(header["qform_code"]):
        return None
    try:
        return np.asarray(header.get_qform(coded=True)[0], dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        if not required:
            return None  # off by rounding beside a good sform
        raise GeometryError(f"{source}: the qform is not a rotation ({error}). Correct it, or set its code to 0.") from error


#: NIfTI-1 counts voxels of an axis in 16 bits.
_LONGEST_NIFTI_1 = 2**15 - 1


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as NIfTI, with sform, unit code and, where the affine has no shear, qform.

    Args:
        volume: Volume to write; booleans are stored as uint8, float16 as float32.
        path: File to write, ``.nii`` or ``.nii.gz``.

    Raises:
        OutputError: When the file cannot be written.
    """
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    kind = nib.Nifti1Image if max(array.shape) <= _LONGEST_NIFTI_1 else nib.Nifti2Image
    image = kind(array, volume.affine, dtype=array.dtype)  # without dtype, nibabel refuses int64
    image.header.set_xyzt_units(_CODE_FROM_UNIT[volume.unit])
    image.set_sform(volume.affine, code="scanner")
    image.set_qform(volume.affine, code="scanner" if _is_rigid(volume.affine) else "unknown")
    with atomic_file(path) as temporary:
        nib.save(image, temporary)


def _is_rigid(affine: NDArray[np.float64]) -> bool:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-6))
