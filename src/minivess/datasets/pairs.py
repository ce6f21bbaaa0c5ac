"""Read the images and labels of a data set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.metrics.masks import as_mask
from minivess.volume import Volume, read_volume, reorient
from minivess.volume.checks import UnstatedSpacingError
from minivess.volume.planes import ALL_PLANES, Planes
from minivess.volume.volume import GRID_TOLERANCE


def load_item(item: Mapping[Any, Any], key: Hashable) -> Volume:
    """Read the volume of an item. The item's spacing is used for TIFF files and folders of slices that do not state one.

    Args:
        item: Paths by key, and ``spacing`` (x, y, z) and ``unit`` if the files do not state them.
        key: Key of the path.

    Raises:
        InputError: When the file cannot be read, or its spacing or unit is unknown.
    """
    path = Path(str(item[key]))
    if not (path.is_dir() or path.suffix.lower() in (".tif", ".tiff")):
        return _read_stating_file(path, item)
    planes = Planes(item.get("channel"), item.get("time"), item.get("depth_axis") or "Z") if key == "image" else ALL_PLANES
    try:
        return read_volume(path, planes=planes)
    except UnstatedSpacingError as error:
        if not item.get("spacing"):
            raise UnstatedSpacingError(
                f"{path.name}: neither the file nor the data set states the voxel size. Make the data set again with it: "
                "minivess data make FOLDER --replace --spacing 0.994 0.994 5 --unit um."
            ) from error
        return read_volume(path, spacing=item.get("spacing"), unit=item.get("unit"), planes=planes)


def _read_stating_file(path: Path, item: Mapping[Any, Any]) -> Volume:
    """Read a format that states its voxel size. An item's unit corrects it, unless it is that of another file."""
    spacing, unit = item.get("spacing"), item.get("unit")
    if not (spacing and unit):
        return read_volume(path, unit=unit)
    try:
        volume = read_volume(path)
    except InputError:
        return read_volume(path, unit=unit)
    same = np.allclose(volume.spacing, spacing, rtol=0.01)  # the numbers of the item: then its unit is meant for them, too
    return read_volume(path, unit=unit) if same and unit != volume.unit else volume


def load_pair(item: Mapping[Any, Any]) -> tuple[Volume, Volume]:
    """Read an image and its label, and reorient the label to the image's grid.

    A label whose axes are only permuted or flipped, as viewers write them, is reoriented exactly. Any other difference is
    refused, since an array that only has the right shape would label the wrong voxels.

    Args:
        item: ``image`` and ``label`` paths, and ``spacing`` and ``unit`` if the files do not state them.

    Returns:
        The image, and a uint8 mask of 0 and 1 on its grid.

    Raises:
        GeometryError: When the label is on another grid.
        InputError: When a file cannot be read, or the label contains more than 0 and one other value.
    """
    image = load_item(item, "image")
    label = _load_mask(item, "label", image)
    return image, image.with_array(label.astype(np.uint8))


def load_reviewed(item: Mapping[Any, Any], image: Volume) -> NDArray[np.bool_]:
    """Read the mask of reviewed voxels.

    Args:
        item: The path ``reviewed``; without it, all voxels were reviewed.
        image: The image of the item.

    Returns:
        (x, y, z) bool on the image's grid.

    Raises:
        GeometryError: When the mask is on another grid than the image.
        InputError: When it cannot be read, or is not a mask.
    """
    return _load_mask(item, "reviewed", image) if item.get("reviewed") else np.ones(image.shape, bool)


def _load_mask(item: Mapping[Any, Any], key: str, image: Volume) -> NDArray[np.bool_]:
    label = load_item(item, key)
    name = Path(str(item[key])).name
    if not label.same_grid(image):
        label = reorient(label, image.axis_codes)
    if not label.same_grid(image):
        raise GeometryError(
            f"{name}: the label is not on the image's grid{_apart(label, image)}. Image {image.shape}, spacing {image.spacing}, "
            f"axes {image.axis_codes}; label {label.shape}, spacing {label.spacing}. Save it again with the image as reference."
        )
    threshold = item.get("label_threshold") if key == "label" else None
    try:
        return as_mask(label.array if threshold is None else label.array > threshold, "label")
    except InputError as error:
        raise InputError(
            f"{name}: {error} Export the segment of the vessels alone, or state to minivess data make above which value vessel "
            "begins: --label-threshold 0 where all of them are vessel, 127 for greys from 0 to 255."
        ) from error


def _apart(label: Volume, image: Volume) -> str:
    if label.shape != image.shape:
        return ""
    return f": voxels are up to {image.distance_in_voxels(label):.3g} voxels apart, allowed are {GRID_TOLERANCE}"
