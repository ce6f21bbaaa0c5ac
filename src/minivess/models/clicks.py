"""The windows around clicks and boxes in which a model segments an object."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minivess.errors import InputError
from minivess.models.segmenter import Click
from minivess.volume import Box

#: Of one box: 512 x 512 voxels in 32 slices.
MOST_BOX_VOXELS = 2**23


def click_windows(clicks: Sequence[Click], shape: tuple[int, int, int], size: ArrayLike) -> list[tuple[Box, list[Click]]]:
    """Place windows around clicks, inside the volume. Clicks on the object that do not fit into one window get several.

    Args:
        clicks: At least one click on the object.
        shape: Voxels (x, y, z) of the volume.
        size: Wanted voxels (x, y, z) of a window.

    Returns:
        Each window with the clicks in it, in order; clicks on what is not the object may be in several windows, or in none.

    Raises:
        InputError: When there is no click on the object, or one click is outside the volume.
    """
    check_clicks(clicks, shape)
    window = np.minimum(np.ceil(np.asarray(size, float)).astype(int), shape)
    groups: list[list[Click]] = []
    for click in (click for click in clicks if click.positive):
        fitting = (group for group in groups if _fits([*group, click], window))
        group = next(fitting, None)
        if group is None:
            groups.append([click])
        else:
            group.append(click)
    placed = []
    for group in groups:
        box = _window_around(group, shape, window)
        inside = [click for click in clicks if click in group or (not click.positive and box.contains(click.voxel))]
        placed.append((box, inside))
    return placed


def box_window(box: Box, shape: tuple[int, int, int], size: ArrayLike) -> Box:
    """Return a box with its surroundings along the two longer axes, at least a window wide; its slices stay those of the box.

    Args:
        box: Inside the volume.
        shape: Voxels (x, y, z) of the volume.
        size: Wanted voxels (x, y, z) of a window.
    """
    extent = np.asarray(box.shape)
    wanted = np.minimum(np.maximum(np.ceil(np.asarray(size, float)).astype(int), extent + extent // 2), shape)
    across = slice_axis(box)
    wanted[across] = extent[across]
    start = _on_raster(np.asarray(box.low), np.asarray(box.high), wanted, shape)
    start[across] = box.low[across]
    return Box.from_corners(start, start + wanted)


def slice_axis(box: Box) -> int:
    """Return the axis across the slices in which a box was drawn: the one along which it is a single voxel, else z."""
    return next((axis for axis in (2, 1, 0) if box.shape[axis] == 1), 2)


def check_box(box: Box, shape: tuple[int, int, int]) -> None:
    """Check that a box is inside a volume, and encloses something.

    Args:
        box: The box.
        shape: Voxels (x, y, z) of the volume.

    Raises:
        InputError: When it is outside, or less than two voxels wide along two axes.
    """
    if not box.fits(shape):
        raise InputError(f"The box {list(box)} is empty, or not inside the volume of {shape} voxels (x, y, z, from 0).")
    if math.prod(box.shape) > MOST_BOX_VOXELS:
        raise InputError(f"The box has {math.prod(box.shape)} voxels. Allowed are {MOST_BOX_VOXELS}: draw it around one vessel.")
    if sorted(box.shape)[1] < 2:
        raise InputError(f"The box of {box.shape} voxels encloses nothing. Click on two opposite corners around the vessel.")


def check_clicks(clicks: Sequence[Click], shape: tuple[int, int, int]) -> None:
    """Check that there is a click on the object, and that all are inside a volume.

    Args:
        clicks: The clicks.
        shape: Voxels (x, y, z) of the volume.

    Raises:
        InputError: When they are not.
    """
    for click in clicks:
        if len(click.voxel) != 3 or not all(0 <= v < n for v, n in zip(click.voxel, shape, strict=True)):
            raise InputError(f"The click {tuple(click.voxel)} is outside the volume of {shape} voxels (x, y, z, from 0).")
    if not any(click.positive for click in clicks):
        raise InputError("Segmenting at clicks needs at least one click on the object. Got none.")


def _fits(clicks: Sequence[Click], window: NDArray[np.integer]) -> bool:
    voxels = np.array([click.voxel for click in clicks])
    return bool((np.ptp(voxels, axis=0) < window).all())


def _window_around(clicks: Sequence[Click], shape: tuple[int, int, int], window: NDArray[np.integer]) -> Box:
    voxels = np.array([click.voxel for click in clicks])
    start = _on_raster(voxels.min(0), voxels.max(0) + 1, window, shape)
    return Box.from_corners(start, start + window)


def _on_raster(
    low: NDArray[np.integer], high: NDArray[np.integer], window: NDArray[np.integer], shape: tuple[int, int, int]
) -> NDArray[np.integer]:
    """Return the first voxel of a window around low to high, on a raster of quarter windows where it fits.

    So prompts near each other have the same windows, whose features are cached.
    """
    start = (low + high) // 2 - window // 2
    step = np.maximum(window // 4, 1)
    rounded = (start + step // 2) // step * step
    start = np.where((rounded <= low) & (high <= rounded + window), rounded, start)
    return np.clip(start, 0, np.asarray(shape) - window)
