"""The skeleton graph of a mask: its centre-line divided into branches, each with length, radius and voxels.

As ``skan.Skeleton`` does, but kinks of the line are not junctions, long branches are divided, and each voxel of the mask
belongs to its nearest branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from minivess.metrics.centreline import centreline_from_mask
from minivess.metrics.masks import fill_cavities

_SMALLEST_RING = 8  # points; smaller ones are thick spots of the line
_NEIGHBOUR = 1.8  # index distance that holds the 26 neighbours


@dataclass(frozen=True, eq=False)
class Branch:
    """A part of a vessel between two ends, each of which is free or a junction.

    Attributes:
        points: (n, 3) voxel indices along the centre-line, in order.
        length_um: Length along the centre-line.
        radius_um: Median distance from the centre-line to the surface of the mask.
        free_ends: How many of its two ends are free.
        component: Index of its connected component.
        neighbours: Indices of the branches that it meets.
    """

    points: NDArray[np.int64]
    length_um: float
    radius_um: float
    free_ends: int
    component: int
    neighbours: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SkeletonGraph:
    """All branches of a mask.

    Attributes:
        branches: The branches, in no order.
        branch_labels: (x, y, z) int32; 1 + index of the nearest branch of each voxel of the mask, 0 outside the mask.
    """

    branches: tuple[Branch, ...]
    branch_labels: NDArray[np.int32]


def skeleton_graph(mask: NDArray[Any], spacing_um: tuple[float, float, float], *, longest_um: float = 40.0) -> SkeletonGraph:
    """Thin a mask without its cavities, and divide the centre-line at junctions and where a branch is longer than ``longest_um``.

    Args:
        mask: (x, y, z) mask.
        spacing_um: Voxel size along x, y, z.
        longest_um: Longest branch; one region should fit on a screen.
    """
    solid = fill_cavities(mask > 0)
    points = np.argwhere(centreline_from_mask(solid))
    branch_labels = np.zeros(mask.shape, np.int32)
    if not len(points):
        return SkeletonGraph((), branch_labels)
    radius_um = edt.edt(np.ascontiguousarray(solid), anisotropy=spacing_um, black_border=False)[tuple(points.T)]
    edges = cKDTree(points).query_pairs(_NEIGHBOUR, output_type="ndarray")
    component = connected_components(_graph(edges, len(points)), directed=False)[1]
    segments, free_ends = _segments(points, edges, spacing_um, longest_um)
    branch_of = np.full(len(points), -1)
    for index, segment in enumerate(segments):
        branch_of[segment] = index
    neighbours = _neighbours(edges, branch_of, len(segments))
    branches = tuple(
        Branch(
            points[segment],
            _length_um(points[segment], spacing_um),
            float(np.median(radius_um[segment])),
            free_ends[index],
            int(component[segment[0]]),
            neighbours[index],
        )
        for index, segment in enumerate(segments)
    )
    inside = np.argwhere(mask)
    known = np.flatnonzero(branch_of >= 0)
    nearest = cKDTree(points[known] * np.asarray(spacing_um)).query(inside * np.asarray(spacing_um))[1]
    branch_labels[tuple(inside.T)] = branch_of[known[nearest]] + 1
    return SkeletonGraph(branches, branch_labels)


def _segments(
    points: NDArray[np.int64], edges: NDArray[np.int64], spacing_um: tuple[float, float, float], longest_um: float
) -> tuple[list[NDArray[np.int64]], list[int]]:
    """Divide a centre-line into segments of ordered points; also return how many ends of each are free."""
    is_junction = _junctions(edges, len(points))
    inner = edges[~is_junction[edges].any(axis=1)]
    links = _graph(inner, len(points))
    part = connected_components(links, directed=False)[1]
    touching = _touching(edges, is_junction, part)
    segments, free_ends = [], []
    for members in _groups(part, is_junction):
        ordered = _walk(links, members)
        closed = len(ordered) > len(members)  # a ring has no end
        free = 0 if closed else max(0, 2 - touching.get(int(part[members[0]]), 0))
        for segment, ends in _cut(ordered, points, spacing_um, longest_um, free):
            segments.append(segment)
            free_ends.append(ends)
    return segments, free_ends


def _neighbours(edges: NDArray[np.int64], branch_of: NDArray[np.int64], count: int) -> list[tuple[int, ...]]:
    """List the branches that each branch meets, at a junction or where a long one was divided."""
    junction_edges = edges[(branch_of[edges] < 0).all(axis=1)]
    junction = connected_components(_graph(junction_edges, len(branch_of)), directed=False)[1]
    node = np.where(branch_of >= 0, branch_of, junction + count)
    links = _graph(node[edges], int(node.max()) + 1)
    at_junction = links[:count, count:]
    met = (links[:count, :count] + at_junction @ at_junction.T).tocsr()
    found = (met.indices[met.indptr[i] : met.indptr[i + 1]] for i in range(count))
    return [tuple(sorted({int(b) for b in row} - {i})) for i, row in enumerate(found)]


def _graph(edges: NDArray[np.int64], count: int) -> Any:
    return coo_array((np.ones(2 * len(edges)), (edges.ravel("F"), edges[:, ::-1].ravel("F"))), (count, count)).tocsr()


def _junctions(edges: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Find the points where three or more branches meet; a kink of the line is not a junction."""
    is_junction = np.bincount(edges.ravel(), minlength=count) > 2
    junction_edges = edges[is_junction[edges].all(axis=1)]
    junction = connected_components(_graph(junction_edges, count), directed=False)[1]
    mixed = edges[is_junction[edges].sum(axis=1) == 1]
    at = np.where(is_junction[mixed[:, 0]], mixed[:, 0], mixed[:, 1])
    branch = np.where(is_junction[mixed[:, 0]], mixed[:, 1], mixed[:, 0])
    arm = _arms(edges, branch, count)  # not the whole branches: both ends of a ring may arrive at one junction
    pairs = np.unique(np.stack([junction[at], arm[branch]], axis=1), axis=0) if len(mixed) else np.zeros((0, 2), np.int64)
    arms = np.bincount(pairs[:, 0], minlength=int(junction.max()) + 1)
    return np.asarray(is_junction & (arms > 2)[junction])


def _arms(edges: NDArray[np.int64], branch: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Group the points that touch junctions: neighbours among them are one arm."""
    touches = np.zeros(count, bool)
    touches[branch] = True
    near = edges[touches[edges].all(axis=1)]
    return np.asarray(connected_components(_graph(near, count), directed=False)[1])


def _touching(edges: NDArray[np.int64], is_junction: NDArray[np.bool_], part: NDArray[np.int32]) -> dict[int, int]:
    """Count at how many of its points a part touches a junction: 0, 1 or 2."""
    mixed = edges[is_junction[edges].sum(axis=1) == 1]
    ends = np.unique(np.where(is_junction[mixed[:, 0]], mixed[:, 1], mixed[:, 0])) if len(mixed) else np.zeros(0, np.int64)
    parts, counts = np.unique(part[ends], return_counts=True)
    return {int(p): min(2, int(c)) for p, c in zip(parts, counts, strict=True)}


def _groups(part: NDArray[np.int32], is_junction: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    kept = np.flatnonzero(~is_junction)
    order = kept[np.argsort(part[kept], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(part[order])) + 1)


def _walk(links: Any, members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the points of a part in order, from one end to the other."""
    opened = _opened(links, members)
    if opened is not None:
        return opened
    first = breadth_first_order(links, members[0], directed=False, return_predecessors=False)[-1]
    return np.asarray(breadth_first_order(links, first, directed=False, return_predecessors=False), np.int64)


def _opened(links: Any, members: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the points of a ring in order, from any of them round to itself; None when the part has ends."""
    part = links[members][:, members]
    degree = np.diff(part.indptr)
    if len(members) < _SMALLEST_RING or (degree < 2).any():
        return None
    for start in np.flatnonzero(degree == 2):
        a, b = part.indices[part.indptr[start] : part.indptr[start + 1]]
        rest = np.delete(np.arange(len(members)), start)
        chain = part[rest][:, rest]
        if part[a, b] or connected_components(chain, directed=False)[0] > 1:
            continue
        order = breadth_first_order(chain, np.flatnonzero(rest == a)[0], directed=False, return_predecessors=False)
        return np.asarray(members[np.concatenate([[start], rest[order], [start]])], np.int64)
    return None


def _cut(
    ordered: NDArray[np.int64],
    points: NDArray[np.int64],
    spacing_um: tuple[float, float, float],
    longest_um: float,
    free: int,
) -> list[tuple[NDArray[np.int64], int]]:
    """Divide a branch into equal segments; each with its number of free ends."""
    count = max(1, round(_length_um(points[ordered], spacing_um) / longest_um))
    segments = [part for part in np.array_split(ordered, count) if part.size]
    if len(segments) == 1:
        return [(ordered, free)]
    free_ends = [0] * len(segments)
    free_ends[0] = int(free > 0)
    free_ends[-1] = int(free > 1)
    return list(zip(segments, free_ends, strict=True))


def _length_um(points: NDArray[np.int64], spacing_um: tuple[float, float, float]) -> float:
    if len(points) < 2:
        return float(min(spacing_um))
    return float(np.linalg.norm(np.diff(points, axis=0) * np.asarray(spacing_um), axis=1).sum())
