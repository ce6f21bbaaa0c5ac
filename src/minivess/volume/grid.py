"""Move a volume to another grid, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.errors import InputError
from minivess.volume.model import Volume


def reorient(volume: Volume, axis_codes: str = "RAS") -> Volume:
    """Turn and flip axes so that they point as ``axis_codes`` says; no voxel value changes.

    The inverse is ``reorient(turned, volume.axis_codes)``: exact for every affine, oblique ones included.

    Raises:
        InputError: When ``axis_codes`` is not one letter of each pair RL, AP, SI.
    """
    pairs = {frozenset("RL"), frozenset("AP"), frozenset("SI")}
    if len(axis_codes) != 3 or not all(sum(c in pair for c in axis_codes) == 1 for pair in pairs):
        raise InputError(f"Axis codes name one of R/L, A/P and S/I each, for example RAS. Got {axis_codes!r}.")
    start = nib.orientations.io_orientation(volume.affine)
    end = nib.orientations.axcodes2ornt(tuple(axis_codes))
    change = nib.orientations.ornt_transform(start, end)
    array = nib.orientations.apply_orientation(volume.array, change)
    affine = volume.affine @ nib.orientations.inv_ornt_aff(change, volume.shape)
    return replace(volume, array=np.ascontiguousarray(array), affine=affine)


def resample_to_spacing(volume: Volume, spacing: tuple[float, float, float], *, order: int = 1) -> Volume:
    """Resample along the volume's own axes; the outer faces of the field of view stay where they are.

    Args:
        volume: What to resample.
        spacing: Wanted voxel size along x, y, z in the volume's unit; the result's is the nearest that fills the field
            of view with whole voxels.
        order: Spline order; 0 for labels (the values stay), 1 for images.

    Returns:
        A volume of the same dtype for ``order`` 0, else float32. The inverse is ``resample_like(result, volume)``.

    Raises:
        InputError: When a spacing is not positive.
    """
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"A spacing is three positive numbers, x y z. Got {tuple(spacing)}.")
    shape = tuple(max(1, round(n * s / w)) for n, s, w in zip(volume.shape, volume.spacing, spacing, strict=True))
    step = np.array(volume.shape) / np.array(shape)
    to_old = np.diag([*step, 1.0])
    to_old[:3, 3] = (step - 1) / 2  # voxel centres: the faces at index -0.5 coincide
    array = _sample(volume.array, to_old, shape, order)
    return replace(volume, array=array, affine=volume.affine @ to_old)


def resample_like(volume: Volume, like: Volume, *, order: int = 1) -> Volume:
    """Resample onto the grid of another volume, through patient space; outside is zero for ``order`` 0, else the edge's value.

    Args:
        volume: What to resample.
        like: The volume whose shape, affine and unit the result gets.
        order: Spline order; 0 for labels, 1 for images and probabilities.
    """
    to_old = np.linalg.inv(volume.in_unit(like.unit).affine) @ like.affine
    array = _sample(volume.array, to_old, like.shape, order, outside_zero=order == 0)
    return replace(like, array=array)


def _sample(
    array: NDArray[Any],
    to_old: NDArray[np.float64],
    shape: tuple[int, ...],
    order: int,
    *,
    outside_zero: bool = False,
) -> NDArray[Any]:
    if shape == array.shape and np.allclose(to_old, np.eye(4), atol=1e-6):
        return array.copy()
    source = array.astype(np.uint8) if array.dtype == bool else array
    if order > 0 or source.dtype == np.float16:
        source = source.astype(np.float32)
    linear, offset = to_old[:3, :3], to_old[:3, 3]
    off_diagonal = np.abs(linear - np.diag(np.diag(linear))).max()
    matrix = np.diag(linear) if off_diagonal < 1e-9 else linear  # scipy has a faster path for a diagonal
    result = ndimage.affine_transform(
        source, matrix, offset, output_shape=shape, order=order, mode="grid-constant" if outside_zero else "nearest"
    )
    return result.astype(array.dtype) if order == 0 else result
