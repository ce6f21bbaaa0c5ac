"""Affines that viewers stumble over."""

from __future__ import annotations

import numpy as np


def geometries() -> dict[str, np.ndarray]:
    """Affines of three images: as a microscope writes it, mirrored (left-handed), and oblique with swapped axes."""
    plain = np.diag([1.0, 1.0, 5.0, 1.0])
    mirrored = np.diag([-1.0, 1.0, -5.0, 1.0]) @ np.diag([1, -1, -1, 1])
    mirrored[:3, 3] = 40, -20, 7
    tilt = np.deg2rad(12)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    oblique = np.eye(4)
    oblique[:3, :3] = turn @ np.array([[0, -1.0, 0], [1.0, 0, 0], [0, 0, -5.0]])
    return {"plain": plain, "mirrored": mirrored, "oblique": oblique}
