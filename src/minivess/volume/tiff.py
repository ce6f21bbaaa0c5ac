"""Read and write multi-page TIFF and OME-TIFF, as microscopes do: pages are z, rows are y, columns are x."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from minivess.errors import GeometryError, InputError
from minivess.paths import atomic_file
from minivess.volume.checks import check_budget, check_spacing
from minivess.volume.units import UM_PER_UNIT, Unit
from minivess.volume.volume import Volume, affine_from_spacing

#: Length unit of OME metadata -> micrometres.
_UM_PER_OME_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, **UM_PER_UNIT}


def read_tiff(path: Path, *, spacing: tuple[float, ...] | None = None, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read the pages of a TIFF file as one volume.

    Args:
        path: File to read.
        spacing: Voxel size along x, y, z in ``unit``; it overrides OME metadata and is required without them.
        unit: Unit of ``spacing``; um when it is not passed.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When the file is not TIFF, is damaged, is not one grey stack, or neither states a spacing nor one is passed.
        UnsafeFileError: When all pages together exceed the limit.
    """
    source = path.name
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if len(file.series) > 1 or series.keyframe.samplesperpixel != 1:
                raise InputError(
                    f"{source}: a TIFF file must contain one grey stack. Got {len(file.series)} series, axes {series.axes}. "
                    "Save one channel of one series."
                )
            lengths = {axis: n for axis, n in zip(series.axes, series.shape, strict=True) if n > 1 or axis in "YX"}
            extra = [axis for axis in lengths if axis not in "YX"]
            if len(extra) > 1 or set(extra) & {"C", "S", "T"}:
                raise InputError(f"{source}: a TIFF file must contain one channel and one time point. Got axes {lengths}.")
            check_budget(series.shape, series.dtype.itemsize, limit_bytes=limit_bytes, source=source)
            ome = file.ome_metadata
            array = series.asarray()
    except (tifffile.TiffFileError, OSError, ValueError, IndexError) as error:
        raise InputError(f"{source}: the file cannot be read as TIFF ({error}). It is damaged or has another format.") from error
    stack = array.reshape(-1, *array.shape[-2:])
    if spacing is None and ome is not None and (stated_um := _ome_spacing_um(ome)) is not None:
        if unit not in (None, "um"):
            raise InputError(f"{source}: its OME metadata state the spacing in um. Remove --unit {unit}, or pass --spacing too.")
        return Volume(stack.transpose(2, 1, 0), affine_from_spacing(stated_um), "um")
    return Volume(stack.transpose(2, 1, 0), affine_from_spacing(check_spacing(spacing, source=source)), unit or "um")


def _ome_spacing_um(ome_xml: str) -> tuple[float, float, float] | None:
    try:
        pixels = ElementTree.fromstring(ome_xml).find(".//{*}Pixels")  # noqa: S314 (expat in Python 3.11 bounds entities)
    except ElementTree.ParseError:
        return None
    if pixels is None or any(f"PhysicalSize{axis}" not in pixels.attrib for axis in "XYZ"):
        return None
    if any(pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm") not in _UM_PER_OME_UNIT for axis in "XYZ"):
        return None  # an uncalibrated export has the unit "pixel"
    x, y, z = (
        float(pixels.attrib[f"PhysicalSize{axis}"]) * _UM_PER_OME_UNIT[pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "XYZ"
    )
    return x, y, z


def write_tiff(volume: Volume, path: Path) -> None:
    """Write a volume as OME-TIFF with the voxel size in its metadata.

    Args:
        volume: Volume to write; booleans are stored as uint8.
        path: File to write.

    Raises:
        GeometryError: When the axes are rotated or flipped, which TIFF cannot store.
        OutputError: When the file cannot be written.
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
