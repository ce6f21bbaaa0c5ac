"""Multi-page TIFF and OME-TIFF, as microscopes write them: pages are z, rows are y, columns are x."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from minivess.errors import GeometryError, InputError
from minivess.paths import atomic_file
from minivess.volume.checks import check_budget, check_spacing
from minivess.volume.model import Unit, Volume, affine_of_spacing

_UM_OF_OME = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3}


def read_tiff(path: Path, *, spacing: tuple[float, ...] | None = None, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read a stack of pages as one volume.

    Args:
        path: The file.
        spacing: Voxel size along x, y, z in ``unit``; it wins over OME metadata. Needed where there is none.
        unit: What ``spacing`` means; um where it is not stated.
        limit_bytes: The largest decoded array.

    Raises:
        InputError: When it is no TIFF, not one grey stack, or the spacing is nowhere stated.
        UnsafeFileError: When the pages together are larger than allowed.
    """
    source = path.name
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if len(file.series) > 1 or series.keyframe.samplesperpixel != 1:
                raise InputError(
                    f"{source}: one grey stack is read; this file has {len(file.series)} series, axes {series.axes}."
                )
            lengths = {axis: n for axis, n in zip(series.axes, series.shape, strict=True) if n > 1 or axis in "YX"}
            extra = [axis for axis in lengths if axis not in "YX"]
            if len(extra) > 1 or set(extra) & {"C", "S", "T"}:
                raise InputError(f"{source}: one channel and one time point are read; the axes are {lengths}.")
            check_budget(series.shape, series.dtype.itemsize, limit_bytes=limit_bytes, source=source)
            ome = file.ome_metadata
            array = series.asarray()
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise InputError(f"{source}: this is not a TIFF file that can be read ({error}).") from error
    stack = array.reshape(-1, *array.shape[-2:])
    if spacing is None and ome is not None and (found := _ome_spacing_um(ome)) is not None:
        if unit not in (None, "um"):
            raise InputError(f"{source}: its OME metadata is in um; leave out --unit {unit}, or state --spacing too.")
        return Volume(stack.transpose(2, 1, 0), affine_of_spacing(found), "um")
    return Volume(stack.transpose(2, 1, 0), affine_of_spacing(check_spacing(spacing, source=source)), unit or "um")


def _ome_spacing_um(ome_xml: str) -> tuple[float, float, float] | None:
    try:
        pixels = ElementTree.fromstring(ome_xml).find(".//{*}Pixels")  # noqa: S314 (expat in Python 3.11 bounds entities)
    except ElementTree.ParseError:
        return None
    if pixels is None or any(f"PhysicalSize{axis}" not in pixels.attrib for axis in "XYZ"):
        return None
    if any(pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm") not in _UM_OF_OME for axis in "XYZ"):
        return None  # "pixel" is what an uncalibrated export says
    x, y, z = (
        float(pixels.attrib[f"PhysicalSize{axis}"]) * _UM_OF_OME[pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "XYZ"
    )
    return x, y, z


def write_tiff(volume: Volume, path: Path) -> None:
    """Write an OME-TIFF with the voxel size in its metadata; booleans become uint8.

    Raises:
        GeometryError: When the axes are rotated or flipped, which TIFF cannot say.
    """
    if not np.allclose(volume.affine[:3, :3], np.diag(volume.spacing), atol=1e-6 * min(volume.spacing)):
        raise GeometryError(
            f"TIFF cannot store rotated or flipped axes ({volume.axis_codes}). Write .nii.gz or .nrrd, or reorient to RAS."
        )
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    x, y, z = volume.spacing_um
    metadata = {"axes": "ZYX", "PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeZ": z}
    metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
    with atomic_file(path) as temporary:
        tifffile.imwrite(
            temporary, array.transpose(2, 1, 0), ome=True, photometric="minisblack", compression="zlib", metadata=metadata
        )
