"""Read and write multi-page TIFF and OME-TIFF, as microscopes do: pages are z, rows are y, columns are x."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.paths import atomic_file
from minivess.volume.checks import UnstatedSpacingError, check_budget, check_spacing
from minivess.volume.planes import ALL_PLANES, Planes
from minivess.volume.tiff_check import open_complete_tiff
from minivess.volume.tiff_spacing import stated_spacing_um
from minivess.volume.units import Unit, to_um
from minivess.volume.volume import Volume, affine_from_spacing


def read_tiff(
    path: Path,
    *,
    spacing: tuple[float, ...] | None = None,
    unit: Unit | None = None,
    planes: Planes = ALL_PLANES,
    limit_bytes: int,
) -> Volume:
    """Read the pages of a TIFF file as one volume.

    Args:
        path: File to read.
        spacing: Voxel size along x, y, z in ``unit``, for files that do not state it (OME or ImageJ metadata).
        unit: Unit of ``spacing``; um when it is not passed.
        planes: Which planes of a file with several channels or time points are read.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When the file is not TIFF, is damaged, is not one grey stack, states no spacing and none is passed, or states
            another one than is passed.
        UnsafeFileError: When all pages together exceed the limit, or its metadata name other files.
    """
    source = path.name
    try:
        with open_complete_tiff(path) as file:
            series = file.series[0]
            if len(file.series) > 1 or series.keyframe.samplesperpixel != 1:
                raise InputError(
                    f"{source}: a TIFF file must contain one grey stack. Got {len(file.series)} series, axes {series.axes}. "
                    "Save one channel of one series."
                )
            index = planes.index_of(series.axes, series.shape, source)
            check_budget(series.shape, series.dtype.itemsize, limit_bytes=limit_bytes, source=source)
            stated_um = stated_spacing_um(file)
            affine, unit = _affine(stated_um, spacing, unit, source)
            array = series.asarray()[index]
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise InputError(f"{source}: the file cannot be read as TIFF ({error}). It is damaged or has another format.") from error
    stack = array.reshape(-1, *array.shape[-2:])
    return Volume(stack.transpose(2, 1, 0), affine, unit)


def _affine(
    stated_um: tuple[float | None, float | None, float | None], spacing: tuple[float, ...] | None, unit: Unit | None, source: str
) -> tuple[NDArray[np.float64], Unit]:
    x, y, z = stated_um
    if spacing is not None:
        passed_um = to_um(check_spacing(spacing, source=source), unit or "um")
        pairs = zip(stated_um, passed_um, strict=True)
        if any(one is not None and not np.isclose(other, one, rtol=0.01) for one, other in pairs):
            stated = " x ".join("?" if one is None else f"{one:g}" for one in stated_um)
            raise InputError(
                f"{source}: the file states a voxel size of {stated} um; got {tuple(spacing)} {unit or 'um'}. "
                "Pass what it states, or correct the file's metadata."
            )
    if x is not None and y is not None and z is not None:
        if spacing is None and unit not in (None, "um"):
            raise InputError(f"{source}: its metadata state the spacing in um. Remove --unit {unit}, or pass --spacing too.")
        return affine_from_spacing((x, y, z)), "um"
    if spacing is None and x is not None and y is not None:
        raise UnstatedSpacingError(
            f"{source}: the file states the voxel size along x and y ({x:g} x {y:g} um), but not along z. Pass all three "
            f"(on the command line: --spacing {x:g} {y:g} Z --unit um)."
        )
    return affine_from_spacing(check_spacing(spacing, source=source)), unit or "um"


def write_tiff(volume: Volume, path: Path) -> None:
    """Write a volume as OME-TIFF with the voxel size in its metadata.

    Args:
        volume: Volume to write; booleans are stored as uint8.
        path: File to write.

    Raises:
        GeometryError: When the axes are rotated or flipped, which TIFF cannot store.
        InputError: When its voxels need 64-bit integers, which OME-TIFF has not.
        OutputError: When the file cannot be written.
    """
    if not np.allclose(volume.affine[:3, :3], np.diag(volume.spacing), atol=1e-6 * min(volume.spacing)):
        raise GeometryError(
            f"TIFF cannot store rotated or flipped axes ({volume.axis_codes}). Write .nii.gz or .nrrd, or reorient to RAS."
        )
    array = _storable(volume.array)
    x, y, z = volume.spacing_um
    metadata = {"axes": "ZYX", "PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeZ": z}
    metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
    with atomic_file(path) as temporary:
        tifffile.imwrite(
            temporary, array.transpose(2, 1, 0), ome=True, photometric="minisblack", compression="zlib", metadata=metadata
        )


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the voxels in a data type that OME-TIFF has: booleans as uint8, float16 as float32, 64-bit integers as 32-bit."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind not in "iu" or array.dtype.itemsize <= 4:
        return array
    low, high = int(array.min()), int(array.max())
    for dtype in (np.int32, np.uint32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    raise InputError(f"OME-TIFF has no 64-bit integers. Got values from {low} to {high}. Write .nrrd or .mha.")
