"""Distances between the surfaces of two masks, in physical units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.metrics.masks import Mask, as_pair, crop_to_union


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, each surface being the mask's voxels with a face outside it.

    Attributes:
        nsd: Normalised surface distance at the tolerance, in [0, 1]; 1 when both masks are empty, 0 when one is.
        hd95: The larger of the two directed 95th percentiles, in the spacing's unit; 0 when both masks are empty, NaN
            when one is, since no distance exists then.
        masd: Mean of the two directed mean distances, in the same unit, with the same conventions.
    """

    nsd: float
    hd95: float
    masd: float


def surface_distances(
    reference: NDArray[Any], prediction: NDArray[Any], spacing: tuple[float, float, float], *, tolerance: float
) -> SurfaceDistances:
    """Compute NSD, HD95 and MASD.

    Surfaces are counted per voxel, as MetricsReloaded and MONAI do; values of implementations that weigh surface elements
    by area differ on anisotropic grids. The end of a vessel cut by the field of view counts as surface.

    Args:
        reference: (x, y, z) mask.
        prediction: (x, y, z) mask.
        spacing: Voxel size along x, y, z.
        tolerance: Distance up to which two surfaces count as equal in NSD, in the same unit.

    Raises:
        InputError: When the arrays are not two masks of one shape, or spacing or tolerance is not positive.
    """
    a, b = as_pair(reference, prediction)
    if len(spacing) != 3 or min(spacing) <= 0 or not np.isfinite(spacing).all():
        raise InputError(f"A spacing is three positive numbers, x y z. Got {spacing}.")
    if not tolerance >= 0:
        raise InputError(f"A tolerance is not negative. Got {tolerance}.")
    if not a.any() and not b.any():
        return SurfaceDistances(nsd=1.0, hd95=0.0, masd=0.0)
    if not a.any() or not b.any():
        return SurfaceDistances(nsd=0.0, hd95=math.nan, masd=math.nan)
    a, b = crop_to_union(a, b)
    border_a, border_b = border_of(a), border_of(b)
    a_to_b = _distance_to(border_b, spacing)[border_a]
    b_to_a = _distance_to(border_a, spacing)[border_b]
    # Distances come as float32: a tolerance of exactly one voxel must hold for a distance of exactly one voxel.
    close = tolerance * (1 + 1e-6)
    within = np.count_nonzero(a_to_b <= close) + np.count_nonzero(b_to_a <= close)
    return SurfaceDistances(
        nsd=within / (a_to_b.size + b_to_a.size),
        hd95=float(max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95))),
        masd=float((a_to_b.mean(dtype=np.float64) + b_to_a.mean(dtype=np.float64)) / 2),
    )


def border_of(mask: Mask) -> Mask:
    """Take the voxels of a mask that have a face neighbour outside it; outside the array counts as outside."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(shift, shift + mask.shape[axis])
            inner &= padded[tuple(window)]
    return np.asarray(mask & ~inner)


def _distance_to(border: Mask, spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.asarray(edt.edt(~border, anisotropy=spacing, black_border=False, parallel=0), dtype=np.float32)
