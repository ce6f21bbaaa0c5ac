"""Convert arrays to boolean masks, and crop masks, before a metric is computed."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.volume.box import Box

Mask = NDArray[np.bool_]


def as_mask(array: NDArray[Any], name: str) -> Mask:
    """Convert an array to a boolean mask.

    Args:
        array: (x, y, z), boolean, or numeric with 0 and at most one other value (0/1, 0/255).
        name: Name of the mask, for the message.

    Returns:
        (x, y, z) bool.

    Raises:
        InputError: When the array is not 3-D, or has NaN or more than one value besides 0, as a label map has.
    """
    if array.ndim != 3:
        raise InputError(f"The {name} must have three axes (x, y, z). Got shape {array.shape}.")
    if array.dtype == bool:
        return array
    mask = array != 0
    inside = array[mask]
    if inside.size and (inside != inside[0]).any():
        values = np.unique(inside[:: max(1, inside.size // 10_000)])[:5].tolist()
        raise InputError(f"The {name} is not a mask: besides 0, it contains {values}. Keep one of them, as 1.")
    return np.asarray(mask)


def as_pair(reference: NDArray[Any], prediction: NDArray[Any]) -> tuple[Mask, Mask]:
    """Convert two arrays of the same shape to boolean masks.

    Args:
        reference: (x, y, z), boolean, or numeric with 0 and at most one other value.
        prediction: Array of the same shape, boolean or numeric as above.

    Returns:
        Two (x, y, z) bool arrays.

    Raises:
        InputError: When the shapes differ or an array is not a mask.
    """
    if reference.shape != prediction.shape:
        raise InputError(
            f"The masks differ in shape: reference {reference.shape}, prediction {prediction.shape}. Resample one to the other."
        )
    return as_mask(reference, "reference"), as_mask(prediction, "prediction")


def fill_cavities(mask: Mask) -> Mask:
    """Fill what a mask encloses on all sides.

    Thinning keeps a closed sheet around each cavity, be it of one voxel: its many voxels are no centre-line of anything.

    Args:
        mask: (x, y, z) bool.

    Returns:
        (x, y, z) bool; the mask itself when it has no cavity.
    """
    background, count = cc3d.connected_components(~mask, connectivity=6, return_N=True)
    open_ = np.zeros(count + 1, bool)
    open_[0] = True  # the mask
    for axis in range(3):
        for end in (0, -1):
            open_[np.unique(np.take(background, end, axis=axis))] = True
    return mask if open_.all() else np.asarray(mask | ~open_[background])


def crop_to_union(reference: Mask, prediction: Mask) -> tuple[Mask, Mask]:
    """Crop both masks to the bounding box of their union; distances and topology do not change.

    Args:
        reference: (x, y, z) bool.
        prediction: (x, y, z) bool of the same shape.

    Returns:
        Views of both masks; the masks themselves when both are empty.
    """
    box = Box.around(reference | prediction)
    return (reference, prediction) if box is None else (reference[box.slices], prediction[box.slices])
