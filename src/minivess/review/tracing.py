"""Trace a vessel: the middle of it between two voxels, and a tube along a line."""

from __future__ import annotations

import edt
import numpy as np
from numpy.typing import NDArray
from skimage.filters import frangi
from skimage.graph import MCP_Geometric

from minivess.review.error_candidates import CANDIDATE_PROBABILITY

#: Evidence below which there is nothing to trace at a click.
FAINTEST = 0.02
#: Cost of a step through background, relative to one through vessel.
_BACKGROUND_COST = 50.0


def trace_middle(
    evidence: NDArray[np.float32], start: tuple[int, int, int], end: tuple[int, int, int], spacing_um: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the minimum-cost path between two voxels, then move it to the middle of the vessel.

    Evidence is limited to that at the clicks: a brighter vessel beside a faint one must not attract the path.

    Args:
        evidence: (x, y, z) float32, in [0, 1]: how much speaks for vessel.
        start: First voxel (x, y, z).
        end: Last voxel.
        spacing_um: Voxel size along x, y, z.

    Returns:
        (n, 3) voxels of the path, and (x, y, z) float32, how deep in the vessel each voxel lies, in um.
    """
    level = min(float(evidence[neighbourhood(np.asarray(click), 1)].max()) for click in (start, end))
    evidence = np.minimum(evidence / max(level, FAINTEST), 1)
    rough = _cheapest(evidence, start, end, spacing_um)
    inside = evidence > max(CANDIDATE_PROBABILITY, 0.5 * float(np.median(evidence[tuple(rough.T)])))
    depth_um = edt.edt(np.ascontiguousarray(inside), anisotropy=spacing_um, black_border=False)
    return _cheapest(evidence * (depth_um + min(spacing_um)), start, end, spacing_um), depth_um


def _cheapest(
    evidence: NDArray[np.float32], start: tuple[int, int, int], end: tuple[int, int, int], spacing_um: tuple[float, float, float]
) -> NDArray[np.int64]:
    cost = 1.0 / np.maximum(evidence, float(evidence.max()) / _BACKGROUND_COST)
    ways = MCP_Geometric(cost, fully_connected=True, sampling=spacing_um)
    ways.find_costs([start], [end])
    return np.asarray(ways.traceback(end))


def vesselness(contrast: NDArray[np.float32], spacing_um: tuple[float, float, float]) -> NDArray[np.float32]:
    """Compute bright lines of the width of capillaries (Frangi et al. 1998), slice by slice since slices are far apart.

    Args:
        contrast: (x, y, z) float32, normalised intensities.
        spacing_um: Voxel size along x, y, z.

    Returns:
        (x, y, z) float32 in [0, 1].
    """
    sigmas = [r / spacing_um[0] for r in (1.5, 3.0, 6.0)]
    planes = [frangi(contrast[..., z], sigmas=sigmas, black_ridges=False) for z in range(contrast.shape[2])]
    lines = np.stack(planes, axis=-1)
    top = float(np.percentile(lines, 99))
    return np.clip(lines / top, 0, 1).astype(np.float32) if top > 0 else np.zeros(lines.shape, np.float32)


def draw_tube(
    points: NDArray[np.int64], radius_um: NDArray[np.float64], shape: tuple[int, ...], spacing_um: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Draw balls along a line; the line itself is always drawn.

    Args:
        points: (n, 3) voxels of the line.
        radius_um: (n,) radius of each ball.
        shape: Size of the window.
        spacing_um: Voxel size along x, y, z.

    Returns:
        (x, y, z) bool.
    """
    drawn = np.zeros(shape, bool)
    spacing = np.asarray(spacing_um)
    for point, radius in zip(points, radius_um, strict=True):
        reach = np.ceil(radius / spacing).astype(int)
        low, high = np.maximum(point - reach, 0), np.minimum(point + reach + 1, shape)
        offsets = np.ogrid[tuple(slice(a - p, b - p) for a, b, p in zip(low, high, point, strict=True))]
        square = sum((o * s) ** 2 for o, s in zip(offsets, spacing, strict=True))
        ball = square < (0.999 * radius) ** 2  # at the radius itself lies background
        drawn[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= ball
    drawn[tuple(points.T)] = True
    return drawn


def neighbourhood(point: NDArray[np.int64], reach: int) -> tuple[slice, ...]:
    """Return the window of the voxels around a voxel.

    Args:
        point: (3,) the voxel.
        reach: Voxels on each side.
    """
    return tuple(slice(max(0, int(p) - reach), int(p) + reach + 1) for p in point)
