"""Straight vessels for tests."""

from __future__ import annotations

import numpy as np

Point = tuple[int, int, int]


def tube(shape: Point, *lines: tuple[Point, Point], radius: float = 2.0) -> np.ndarray:
    grid = np.indices(shape).reshape(3, -1).T.astype(float)
    mask = np.zeros(len(grid), bool)
    for start, end in lines:
        a, b = np.array(start, float), np.array(end, float)
        along = np.clip((grid - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        mask |= np.linalg.norm(grid - a - along[:, None] * (b - a), axis=1) <= radius
    return mask.reshape(shape)
