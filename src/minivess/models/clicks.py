"""The windows around clicks in which a model segments an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minivess.errors import InputError
from minivess.models.segmenter import Click
from minivess.volume import Box


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
        inside = [click for click in clicks if click in group or (not click.positive and _is_in(box, click))]
        placed.append((box, inside))
    return placed


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
    middle = (voxels.min(0) + voxels.max(0)) // 2
    start = np.clip(middle - window // 2, 0, np.asarray(shape) - window)
    return Box.from_corners(start, start + window)


def _is_in(box: Box, click: Click) -> bool:
    return all(low <= v < high for low, v, high in zip(box.low, click.voxel, box.high, strict=True))
