"""Reorient volumes."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from minivess.errors import InputError
from minivess.volume.volume import Volume


def reorient(volume: Volume, axis_codes: str = "RAS") -> Volume:
    """Permute and flip the axes so that they have the directions of ``axis_codes``; voxel values do not change.

    The inverse is ``reorient(result, volume.axis_codes)``. It is exact for every affine, including oblique ones.

    Args:
        volume: Volume to reorient.
        axis_codes: Direction of the x, y and z axis: one letter of each pair RL, AP, SI.

    Raises:
        InputError: When ``axis_codes`` is not one letter of each pair.
    """
    pairs = {frozenset("RL"), frozenset("AP"), frozenset("SI")}
    if len(axis_codes) != 3 or not all(sum(c in pair for c in axis_codes) == 1 for pair in pairs):
        raise InputError(f"Axis codes must contain one of R/L, A/P and S/I each, for example RAS. Got {axis_codes!r}.")
    start = nib.orientations.io_orientation(volume.affine)
    end = nib.orientations.axcodes2ornt(tuple(axis_codes))
    change = nib.orientations.ornt_transform(start, end)
    array = nib.orientations.apply_orientation(volume.array, change)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(change, volume.shape)
    return replace(volume, array=np.ascontiguousarray(array), affine=affine)
