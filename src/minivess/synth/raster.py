"""Rasterise a vessel graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.synth.graph import VesselGraph

_CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Raster:
    """A rasterised vessel graph; all arrays have axes (x, y, z).

    Attributes:
        mask: bool, True inside a vessel.
        centreline: bool, True in voxels that a centre-line passes through.
        radius: float32, vessel radius at centre-line voxels in the volume's unit, 0 elsewhere.
        brightness: float32, relative brightness of the vessel that contains the voxel, 0 outside vessels.
    """

    mask: NDArray[np.bool_]
    centreline: NDArray[np.bool_]
    radius: NDArray[np.float32]
    brightness: NDArray[np.float32]


def rasterise(
    graph: VesselGraph,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    brightness: NDArray[np.float64] | None = None,
) -> Raster:
    """Rasterise every vessel as a tube.

    A voxel belongs to a vessel when the distance of its centre from the centre-line is at most the radius. Along each axis
    the radius is at least half a voxel, so that no vessel disappears between two slices.

    Args:
        graph: Vessel network.
        shape: Number of voxels along x, y, z.
        spacing: Voxel size along x, y, z, in the graph's unit.
        brightness: (branches,) float64, relative brightness of each branch; 1 by default. Where vessels overlap, the largest
            value is used.
    """
    size = np.asarray(spacing, dtype=np.float64)
    points, radius, branch = _sample_edges(graph, size.min() / 2, by_radius=True)
    light = np.ones(len(graph.parent)) if brightness is None else brightness
    order = np.argsort(light[branch], kind="stable")  # the brightest last
    points, radius, light_of_point = points[order], radius[order], light[branch][order]

    image = np.zeros(shape, np.float32)
    centres = _voxels_from_points(points, size, shape)
    reach = np.ceil(np.maximum(radius[:, None], size / 2) / size).astype(np.int64)
    for group in _group_by_reach(reach):
        extent = reach[group[0]]
        for part in np.array_split(group, len(group) * int(np.prod(2 * extent + 1)) // _CHUNK + 1):
            _paint(image, points[part], radius[part], light_of_point[part], centres[part], extent, size)
    points, radius, branch = _sample_edges(graph, size.min() / 2, by_radius=False)
    on_line = tuple(_voxels_from_points(points, size, shape).T)
    centreline = np.zeros(shape, bool)
    centreline[on_line] = True
    radius_map = np.zeros(shape, np.float32)
    np.maximum.at(radius_map, on_line, radius.astype(np.float32))
    np.maximum.at(image, on_line, light[branch].astype(np.float32))  # a thin vessel may pass between voxel centres
    return Raster(image > 0, centreline, radius_map, image)


def _voxels_from_points(points: NDArray[np.float64], size: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.int64]:
    return np.clip(np.floor(points / size).astype(np.int64), 0, np.array(shape) - 1)


def _sample_edges(graph: VesselGraph, step: float, *, by_radius: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Sample every edge at intervals of at most ``step``; with ``by_radius``, wide vessels are sampled less densely.

    Returns:
        (n, 3) points, (n,) radii and (n,) branches.
    """
    a, b = graph.edges.T
    length = np.linalg.norm(graph.points[a] - graph.points[b], axis=1)
    # In wide vessels, intervals of a quarter of the radius give a surface without visible ripples.
    spaced = np.maximum(step, 0.25 * np.minimum(graph.radius[a], graph.radius[b])) if by_radius else step
    pieces = np.maximum(1, np.ceil(length / spaced).astype(np.int64))
    edge = np.repeat(np.arange(len(pieces)), pieces + 1)
    first = np.repeat(np.cumsum(pieces + 1) - (pieces + 1), pieces + 1)
    t = ((np.arange(len(edge)) - first) / pieces[edge])[:, None]
    points = graph.points[a[edge]] * (1 - t) + graph.points[b[edge]] * t
    radius = graph.radius[a[edge]] * (1 - t[:, 0]) + graph.radius[b[edge]] * t[:, 0]
    return points, radius, graph.branch[b[edge]]


def _group_by_reach(reach: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the indices of the points in groups of equal reach."""
    _, inverse = np.unique(reach, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return [np.flatnonzero(inverse == k) for k in range(int(inverse.max()) + 1)]


def _paint(
    image: NDArray[np.float32],
    points: NDArray[np.float64],
    radius: NDArray[np.float64],
    light: NDArray[np.float64],
    centres: NDArray[np.int64],
    reach: NDArray[np.int64],
    size: NDArray[np.float64],
) -> None:
    """Set the voxels of one ellipsoid per point to at least its brightness, in place.

    The squared distance is summed axis by axis, which is faster than computing it for every voxel.
    """
    voxels, squared = [], []
    for axis in range(3):
        index = centres[:, axis, None] + np.arange(-reach[axis], reach[axis] + 1)
        semi_axis = np.maximum(radius, size[axis] / 2)[:, None]
        distance = ((index + 0.5) * size[axis] - points[:, axis, None]) / semi_axis
        outside = (index < 0) | (index >= image.shape[axis])
        squared.append(np.where(outside, np.inf, distance**2).astype(np.float32))
        voxels.append(index)
    total = squared[0][:, :, None, None] + squared[1][:, None, :, None] + squared[2][:, None, None, :]
    n, i, j, k = np.nonzero(total <= 1.0)
    flat = np.ravel_multi_index((voxels[0][n, i], voxels[1][n, j], voxels[2][n, k]), image.shape)
    np.maximum.at(image.reshape(-1), flat, light[n].astype(np.float32))
