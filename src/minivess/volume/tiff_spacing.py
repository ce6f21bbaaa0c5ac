"""The voxel size that a TIFF file states: in OME metadata, or as ImageJ and Fiji write it."""

from __future__ import annotations

from xml.etree import ElementTree

import tifffile

from minivess.volume.units import UM_PER_UNIT

#: Names of length units in OME and ImageJ metadata -> micrometres.
_UM_PER_NAME = {
    "nm": 1e-3, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "cm": 1e4, **UM_PER_UNIT,
}  # fmt: skip
_Spacing = tuple[float | None, float | None, float | None]


def stated_spacing_um(file: tifffile.TiffFile) -> _Spacing:
    """Return the voxel size along x, y, z in um; None for each axis for which the file states none."""
    if file.ome_metadata:
        return _of_ome(file.ome_metadata)
    if file.imagej_metadata:
        return _of_imagej(file)
    return None, None, None


def _of_ome(ome_xml: str) -> _Spacing:
    try:
        pixels = ElementTree.fromstring(ome_xml).find(".//{*}Pixels")  # noqa: S314 (expat in Python 3.11 bounds entities)
    except ElementTree.ParseError:
        return None, None, None
    attributes = pixels.attrib if pixels is not None else {}

    def size(axis: str) -> float | None:
        factor = _UM_PER_NAME.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"))  # an uncalibrated export has "pixel"
        value = _positive(attributes.get(f"PhysicalSize{axis}"))
        return None if factor is None or value is None else value * factor

    return size("X"), size("Y"), size("Z")


def _of_imagej(file: tifffile.TiffFile) -> _Spacing:
    """Read the resolution tags, ``spacing`` and ``unit``, as Fiji's "Image > Properties" sets them."""
    metadata = file.imagej_metadata or {}
    factor = _UM_PER_NAME.get(str(metadata.get("unit", "")).strip().lower())
    if factor is None:
        return None, None, None
    page = file.series[0].keyframe

    def size(tag: str) -> float | None:
        resolution = page.tags.get(tag)
        pixels, units = resolution.value if resolution is not None else (0, 1)
        return units / pixels * factor if pixels and units else None

    z = _positive(metadata.get("spacing"))
    return size("XResolution"), size("YResolution"), None if z is None else z * factor


def _positive(text: object) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
