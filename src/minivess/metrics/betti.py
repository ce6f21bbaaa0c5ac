"""Compute the topology of a mask: components, loops, cavities."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from skimage.measure import euler_number

from minivess.metrics.masks import as_mask


def betti_numbers(mask: NDArray[Any]) -> tuple[int, int, int]:
    """Compute the Betti numbers of a mask: the number of components, independent loops and cavities.

    Vessels are 26-connected and the background is 6-connected, so that a diagonal capillary is one component. The number of
    loops follows from the Euler number: ``b1 = b0 + b2 - chi``.

    Args:
        mask: (x, y, z) mask.

    Returns:
        ``(b0, b1, b2)``.

    Raises:
        InputError: When the array is not a mask.
    """
    inside = as_mask(mask, "mask")
    if not inside.any():
        return 0, 0, 0
    padded = np.pad(inside, 1)
    b0 = int(cc3d.connected_components(padded, connectivity=26, return_N=True)[1])
    b2 = int(cc3d.connected_components(~padded, connectivity=6, return_N=True)[1]) - 1
    chi = int(euler_number(padded, connectivity=3))
    return b0, b0 + b2 - chi, b2
