"""Generate a capillary bed: a network with loops, in which most junctions connect three vessels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from minivess.synth.graph import VesselGraph


def capillary_mesh(
    rng: np.random.Generator,
    extent: NDArray[np.float64],
    *,
    junction_distance: float,
    radius: tuple[float, float],
    tortuosity: float = 0.22,
) -> VesselGraph:
    """Generate a capillary network by connecting random junctions to near neighbours with tortuous segments.

    Args:
        rng: Random number generator.
        extent: (3,) float64, size of the volume along x, y, z, in its unit.
        junction_distance: Minimum distance between two junctions, in the same unit; it determines the segment length.
        radius: Range of the segment radii, in the same unit.
        tortuosity: Lateral deviation of a segment, as a fraction of its length.

    Returns:
        A graph with loops inside the volume, usually of one component.
    """
    junctions = _scattered_points(rng, extent, junction_distance)
    pairs = _connect_neighbours(junctions)
    points, radii, branch = [junctions], [np.full(len(junctions), np.mean(radius))], [np.zeros(len(junctions), np.int64)]
    edges: list[NDArray[np.int64]] = []
    count = len(junctions)
    for number, (a, b) in enumerate(pairs):
        path = _tortuous_path(rng, junctions[a], junctions[b], tortuosity, step=radius[0])
        inner = np.clip(path[1:-1], 0.0, extent)
        ids = np.concatenate([[a], np.arange(count, count + len(inner)), [b]])
        segment = np.stack([ids[:-1], ids[1:]], axis=1)
        segment[-1] = segment[-1, ::-1]  # its branch is that of the second point, and a junction belongs to none of its segments
        edges.append(segment)
        width = rng.uniform(*radius)
        points.append(inner)
        radii.append(np.full(len(inner), width))
        branch.append(np.full(len(inner), number, np.int64))
        count += len(inner)
    return VesselGraph(
        np.concatenate(points),
        np.concatenate(radii),
        np.concatenate(edges).astype(np.int64),
        np.concatenate(branch),
        np.full(max(1, len(pairs)), -1, np.int64),
    )


def _scattered_points(rng: np.random.Generator, extent: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Sample points with a minimum distance (dart throwing), up to the density of a random close packing."""
    count = max(4, int(0.9 * np.prod(extent) / distance**3))
    accepted = np.empty((0, 3))
    for _ in range(6):
        candidates = np.concatenate([accepted, rng.uniform(0.0, 1.0, (count, 3)) * extent])
        alive = np.ones(len(candidates), bool)
        for i, j in sorted(cKDTree(candidates).query_pairs(distance)):
            if alive[i]:
                alive[j] = False
        accepted = candidates[alive]
    return accepted[:count] if len(accepted) >= 4 else candidates[:4]


def _connect_neighbours(junctions: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return pairs of junctions to connect, the shortest first, with at most three connections per junction."""
    near = cKDTree(junctions).query(junctions, k=min(9, len(junctions)))
    links = {
        (min(i, int(j)), max(i, int(j))): float(d)
        for i, (distances, others) in enumerate(zip(*near, strict=True))
        for d, j in zip(distances[1:], others[1:], strict=True)
    }
    degree = np.zeros(len(junctions), int)
    chosen = []
    for i, j in sorted(links, key=lambda pair: (links[pair], pair)):
        if degree[i] < 3 and degree[j] < 3:
            degree[[i, j]] += 1
            chosen.append((i, j))
    return chosen


def _tortuous_path(
    rng: np.random.Generator, a: NDArray[np.float64], b: NDArray[np.float64], tortuosity: float, *, step: float
) -> NDArray[np.float64]:
    """Return points from a to b along a straight line plus smooth lateral waves that are zero at both ends."""
    length = float(np.linalg.norm(b - a))
    t = np.linspace(0.0, 1.0, max(3, int(length / step)))[:, None]
    waves = sum(rng.normal(0.0, tortuosity * length / (k + 1), 3) * np.sin((k + 1) * np.pi * t) / 2 for k in range(3))
    return np.asarray(a + t * (b - a) + waves)
