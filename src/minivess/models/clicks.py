"""The window around clicks in which a model segments an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from minivess.errors import InputError
from minivess.models.segmenter import Click
from minivess.volume import Box


def click_window(clicks: Sequence[Click], shape: tuple[int, int, int], size: ArrayLike) -> Box:
    """Place a window around clicks, inside the volume.

    Args:
        clicks: At least one positive click.
        shape: Voxels (x, y, z) of the volume.
        size: Wanted voxels (x, y, z) of the window.

    Raises:
        InputError: When there is no positive click, one is outside the volume, or they do not fit into one window.
    """
    if not any(click.positive for click in clicks):
        raise InputError("Segmenting at clicks needs at least one click on the object. Got none.")
    voxels = np.array([click.voxel for click in clicks])
    outside = [tuple(map(int, v)) for v in voxels if (v < 0).any() or (v >= shape).any()]
    if outside:
        raise InputError(f"The click {outside[0]} is outside the volume of {shape} voxels (x, y, z, from 0).")
    window = np.minimum(np.ceil(np.asarray(size, float)).astype(int), shape)
    low, high = voxels.min(0), voxels.max(0)
    if (high - low >= window).any():
        raise InputError(
            f"The clicks lie up to {tuple(int(v) for v in high - low + 1)} voxels apart, a window has {tuple(map(int, window))}. "
            "Click one object at a time."
        )
    start = np.clip((low + high) // 2 - window // 2, 0, np.asarray(shape) - window)
    return Box.from_corners(start, start + window)
