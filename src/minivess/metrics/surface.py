"""Compute distances between the surfaces of two masks, in physical units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from minivess.errors import InputError
from minivess.metrics.masks import Mask, as_pair, crop_to_union

#: Voxels to each side within which a surface is looked for without a tree.
_REACH = 3


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two masks; the surface is the set of voxels with a face neighbour outside the mask.

    Attributes:
        nsd: Normalised surface distance at the tolerance, in [0, 1]; 1 when both masks are empty, 0 when exactly one is.
        hd95: The larger of the two directed 95th percentiles, in the unit of the spacing; 0 when both masks are empty, NaN
            when exactly one is, because no distance is defined.
        masd: Mean of the two directed mean distances, with the same unit and conventions.
        assd: Mean of all distances of both directions, with the same unit and conventions.
    """

    nsd: float
    hd95: float
    masd: float
    assd: float


def surface_distances(
    reference: NDArray[Any], prediction: NDArray[Any], spacing: tuple[float, float, float], *, tolerance: float
) -> SurfaceDistances:
    """Compute NSD, HD95, MASD and ASSD.

    Each surface voxel has the same weight, as in MetricsReloaded and MONAI. Implementations that weight surface elements by
    their area give other values on anisotropic grids. The end of a vessel at the border of the field of view is surface.

    Args:
        reference: (x, y, z) mask.
        prediction: (x, y, z) mask.
        spacing: Voxel size along x, y, z.
        tolerance: Largest distance at which NSD counts a surface voxel as correct, in the same unit.

    Raises:
        InputError: When the arrays are not two masks of one shape, the spacing is not positive, or the tolerance is negative.
    """
    a, b = as_pair(reference, prediction)
    if len(spacing) != 3 or min(spacing) <= 0 or not np.isfinite(spacing).all():
        raise InputError(f"A spacing must be three positive numbers, x y z. Got {spacing}.")
    if not tolerance >= 0:
        raise InputError(f"The tolerance must be 0 or more. Got {tolerance}.")
    if not a.any() and not b.any():
        return SurfaceDistances(nsd=1.0, hd95=0.0, masd=0.0, assd=0.0)
    if not a.any() or not b.any():
        return SurfaceDistances(nsd=0.0, hd95=math.nan, masd=math.nan, assd=math.nan)
    a, b = crop_to_union(a, b)
    surface_a, surface_b = _surface(a), _surface(b)
    a_to_b = _distances(surface_a, surface_b, spacing)
    b_to_a = _distances(surface_b, surface_a, spacing)
    close = tolerance * (1 + 1e-9)  # three voxels of 0.1 um are within 0.3 um
    within = np.count_nonzero(a_to_b <= close) + np.count_nonzero(b_to_a <= close)
    return SurfaceDistances(
        nsd=float(within / (a_to_b.size + b_to_a.size)),
        hd95=float(max(np.percentile(a_to_b, 95), np.percentile(b_to_a, 95))),
        masd=float((a_to_b.mean() + b_to_a.mean()) / 2),
        assd=float((a_to_b.sum() + b_to_a.sum()) / (a_to_b.size + b_to_a.size)),
    )


def _surface(mask: Mask) -> Mask:
    """Return the voxels with a face neighbour outside the mask; outside the array counts as outside."""
    inner = mask.copy()
    for axis in range(3):  # faster than an erosion
        inside, ahead, behind = (np.moveaxis(array, axis, 0) for array in (inner, mask, mask))
        inside[:-1] &= ahead[1:]
        inside[1:] &= behind[:-1]
        inside[[0, -1]] = False
    return np.asarray(mask & ~inner)


def _distances(surface: Mask, other: Mask, spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the distance of each voxel of a surface to another surface; what both share has the distance 0."""
    apart = np.argwhere(surface & ~other)
    found = np.zeros(np.count_nonzero(surface))
    found[: len(apart)], far = _near_distances(apart, other, spacing)  # their order does not matter
    if len(far):
        scale = np.asarray(spacing)
        tree = cKDTree(np.argwhere(other) * scale, balanced_tree=False, compact_nodes=False)
        found[far] = tree.query(apart[far] * scale, workers=-1)[0]
    return found


def _near_distances(
    points: NDArray[np.int64], surface: Mask, spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Measure the distance from points to a surface that is near; most are found in the next voxels, without a search tree.

    Returns:
        (n,) distances, and the indices of the points that have no surface so near.
    """
    offsets = np.argwhere(np.ones([2 * _REACH + 1] * 3)) - _REACH
    lengths = np.linalg.norm(offsets * np.asarray(spacing), axis=1)
    known = np.flatnonzero(lengths < (_REACH + 1) * min(spacing))  # beyond, a voxel that is not among them may be nearer
    known = known[np.argsort(lengths[known], kind="stable")]
    padded = np.pad(surface, _REACH)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    steps = offsets @ strides
    at, flat = (points + _REACH) @ strides, padded.ravel()
    distances, left = np.zeros(len(points)), np.arange(len(points))
    for index in known:
        hit = flat[at[left] + steps[index]]
        distances[left[hit]] = lengths[index]
        left = left[~hit]
        if not len(left):
            break
    return distances, left
