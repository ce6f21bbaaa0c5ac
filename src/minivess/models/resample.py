"""Bring volumes to the voxel size that a network was made for, and its result back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from minivess.errors import BundleError, InputError

#: A volume may grow by this factor.
MAX_GROWTH = 64
#: About five arrays of float32 are held of an interpolated volume: 10 GB of this one.
MAX_VOXELS = 2**29


def check_spacing(value: Any) -> tuple[float, float, float]:
    """Check the key ``spacing_um`` of a bundle.

    Raises:
        BundleError: When it is not three positive numbers.
    """
    numbers = isinstance(value, (list, tuple)) and len(value) == 3 and all(type(v) in (int, float) and v > 0 for v in value)
    if not numbers:
        raise BundleError(f"spacing_um is {value!r}. Allowed: three positive numbers x, y, z in micrometres, or no such key.")
    return float(value[0]), float(value[1]), float(value[2])


def resampled_shape(shape: Sequence[int], spacing_um: Sequence[float], wanted_um: Sequence[float]) -> tuple[int, int, int]:
    """Compute the number of voxels of a volume at another voxel size.

    Args:
        shape: Voxels (x, y, z).
        spacing_um: Their size, micrometres.
        wanted_um: The size of the new voxels, micrometres.

    Raises:
        InputError: When the volume would grow more than :data:`MAX_GROWTH` times, or beyond :data:`MAX_VOXELS`.
    """
    x, y, z = (max(1, round(n * s / w)) for n, s, w in zip(shape, spacing_um, wanted_um, strict=True))
    if x * y * z > max(MAX_VOXELS, int(np.prod(shape))):
        raise InputError(
            f"The model works on voxels of {_text(wanted_um)} um: the volume would have {x} x {y} x {z} of them, more than "
            f"fit in memory (allowed are {MAX_VOXELS:,}). Crop it, or use a model for its voxel size."
        )
    if x * y * z > MAX_GROWTH * int(np.prod(shape)):
        raise InputError(
            f"The model works on voxels of {_text(wanted_um)} um, those of the volume have {_text(spacing_um)} um: it would grow "
            f"more than {MAX_GROWTH} times. Use a model for such volumes, or correct the spacing."
        )
    return x, y, z


def resample(array: NDArray[np.float32], shape: Sequence[int], *, nearest: bool = False) -> NDArray[np.float32]:
    """Interpolate an array to another number of voxels over the same extent.

    Args:
        array: (x, y, z) float32.
        shape: Voxels (x, y, z) of the result.
        nearest: Take the nearest value, for labels; otherwise linear.

    Returns:
        (x, y, z) float32.
    """
    if tuple(array.shape) == tuple(shape):
        return array
    tensor = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    if nearest:
        return np.asarray(interpolate(tensor, size=tuple(shape), mode="nearest-exact")[0, 0].numpy())
    return np.asarray(interpolate(tensor, size=tuple(shape), mode="trilinear", align_corners=False)[0, 0].numpy())


def resampled_affine(affine: NDArray[np.float64], before: Sequence[int], after: Sequence[int]) -> NDArray[np.float64]:
    """Compute the affine of the resampled grid: the outer faces of both grids are the same.

    Args:
        affine: (4, 4), voxel centres to world.
        before: Voxels (x, y, z) of the grid of the affine.
        after: Voxels (x, y, z) of the other grid.
    """
    step = np.asarray(before) / np.asarray(after)
    scale = np.diag([*step, 1.0])
    scale[:3, 3] = (step - 1) / 2
    return np.asarray(affine @ scale)


def _text(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
