"""What every metric does first: take two masks as booleans, and look only where one of them is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError

Mask = NDArray[np.bool_]


def as_mask(array: NDArray[Any], name: str) -> Mask:
    """Read a mask: booleans, or numbers that take zero and at most one other value (0/1, 0/255).

    Raises:
        InputError: When it is not 3-D, not finite, or holds more values, since a label map is not one mask.
    """
    if array.ndim != 3:
        raise InputError(f"The {name} has axes (x, y, z). Got shape {array.shape}.")
    if array.dtype == bool:
        return array
    mask = array != 0
    inside = array[mask]
    if inside.size and (inside != inside[0]).any():
        values = np.unique(inside[:: max(1, inside.size // 10_000)])[:5].tolist()
        raise InputError(f"The {name} is no mask: besides 0 it holds {values}. Choose one label: array == value.")
    return np.asarray(mask)


def as_pair(reference: NDArray[Any], prediction: NDArray[Any]) -> tuple[Mask, Mask]:
    """Read two masks on one grid.

    Raises:
        InputError: When their shapes differ or one is no mask.
    """
    if reference.shape != prediction.shape:
        raise InputError(f"The masks differ in shape: reference {reference.shape}, prediction {prediction.shape}.")
    return as_mask(reference, "reference"), as_mask(prediction, "prediction")


def crop_to_union(reference: Mask, prediction: Mask) -> tuple[Mask, Mask]:
    """Cut both masks to the box around their union; distances and topology inside do not change."""
    union = reference | prediction
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        occupied = np.flatnonzero(union.any(axis=others))
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0))
    return reference[tuple(box)], prediction[tuple(box)]
