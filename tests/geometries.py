"""Affines that viewers stumble over, and an independent way from one grid to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nibabel import Nifti1Image
from nibabel.processing import resample_from_to

from minivess.volume import Volume


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


def resample_like(volume: Volume, like: Volume) -> Volume:
    """Return a volume on the grid of another; the nearest voxel, 0 outside."""
    source = Nifti1Image(volume.array.astype(np.float64), volume.in_unit(like.unit).affine)
    array = np.asarray(resample_from_to(source, (like.shape, like.affine), order=0, mode="grid-constant").dataobj)
    return replace(like, array=array.astype(volume.array.dtype))
