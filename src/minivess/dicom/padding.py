"""Padding outside the field of view (PixelPaddingValue) is no tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pydicom
from numpy.typing import NDArray


def replace_padding(array: NDArray[np.float32], datasets: Sequence[pydicom.Dataset]) -> int:
    """Set voxels that are padding to the darkest intensity of the others, in place (PS3.3, C.7.5.1.1.2).

    Args:
        array: (x, y, z) float32 intensities.
        datasets: The decoded slices, in the order of z.

    Returns:
        Number of voxels that are padding.
    """
    padded = np.zeros(array.shape, bool)
    for z, dataset in enumerate(datasets):
        value = dataset.get("PixelPaddingValue")
        if value in (None, ""):
            continue
        limit = dataset.get("PixelPaddingRangeLimit")
        low, high = sorted((int(value), int(value if limit in (None, "") else limit)))
        if int(dataset.PixelRepresentation) == 1 and high > 32767:  # a signed value that was written as unsigned
            low, high = low - 65536, high - 65536
        stored = dataset.pixel_array
        padded[..., z] = ((stored >= low) & (stored <= high)).T
    if padded.any() and not padded.all():
        array[padded] = array[~padded].min()
    return int(padded.sum())
