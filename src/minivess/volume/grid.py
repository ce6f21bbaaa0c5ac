"""Reorient and resample volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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


def resample_to_spacing(volume: Volume, spacing: tuple[float, float, float], *, order: int = 1) -> Volume:
    """Resample a volume along its own axes; the outer faces of the field of view do not move.

    Args:
        volume: Volume to resample.
        spacing: Target voxel size along x, y, z in the volume's unit. The result has the nearest voxel size that fills the
            field of view with whole voxels.
        order: Spline order; 0 for labels (values are preserved), 1 for images.

    Returns:
        A volume of the same dtype for ``order`` 0 or an unchanged grid, otherwise float32. The inverse is
        ``resample_like(result, volume)``.

    Raises:
        InputError: When a spacing is not positive.
    """
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"A spacing must be three positive numbers, x y z. Got {tuple(spacing)}.")
    shape = tuple(max(1, round(n * s / w)) for n, s, w in zip(volume.shape, volume.spacing, spacing, strict=True))
    step = np.array(volume.shape) / np.array(shape)
    to_old = np.diag([*step, 1.0])
    to_old[:3, 3] = (step - 1) / 2  # voxel centres: the faces at index -0.5 coincide
    array = _sample(volume.array, to_old, shape, order)
    return replace(volume, array=array, affine=volume.affine @ to_old)


def resample_like(volume: Volume, like: Volume, *, order: int = 1) -> Volume:
    """Resample a volume onto the grid of another volume.

    Voxels outside the source are 0 for ``order`` 0; otherwise they have the value of the nearest edge voxel.

    Args:
        volume: Volume to resample.
        like: Volume that defines the shape, affine and unit of the result.
        order: Spline order; 0 for labels, 1 for images and probabilities.

    Returns:
        A volume of the dtype of ``volume`` for ``order`` 0 or an equal grid, otherwise float32.
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
    """Sample an (x, y, z) array at the voxels of another grid, whose indices ``to_old`` maps to indices of the array."""
    # nibabel.processing.resample_from_to does the same, without the fast path for axis-aligned grids.
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
