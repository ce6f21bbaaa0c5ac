"""Compute the topology of a mask: components, loops, cavities."""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from minivess.metrics.masks import Mask, as_mask


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
    return b0, b0 + b2 - _euler_number(padded), b2


def _euler_number(padded: Mask, axis: int = 0) -> int:
    """Compute vertices - edges + faces - voxels of a mask of closed cubes; cells between two voxels belong to it when one does.

    ``skimage.measure.euler_number`` returns the same in nine times the time (512 x 512 x 64 voxels).
    """
    if axis == padded.ndim:
        return int(np.count_nonzero(padded))
    along = np.moveaxis(padded, axis, 0)
    between = np.moveaxis(along[1:] | along[:-1], 0, axis)
    return _euler_number(between, axis + 1) - _euler_number(padded, axis + 1)
