"""Grow a vascular tree inside the volume; at each bifurcation the cubes of the radii add up (Murray 1926)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.synth.graph import VesselGraph


@dataclass(frozen=True)
class TreeStyle:
    """Parameters of a vascular tree.

    Attributes:
        min_radius: Smallest radius of a branch, in the volume's unit.
        length_per_radius: Range of the ratio of a branch's length to its radius.
        fork_ratio: Range of the ratio of the thinner child's radius to the thicker child's.
        tortuosity: Standard deviation of the change of direction at each step, in radians.
        flatness: Factor on the z component of the direction at each step; 1 for a cube, less for a thin slab.
    """

    min_radius: float
    length_per_radius: tuple[float, float] = (6.0, 16.0)
    fork_ratio: tuple[float, float] = (0.45, 0.95)
    tortuosity: float = 0.12
    flatness: float = 0.95


@dataclass(frozen=True, eq=False)
class _Bud:
    point: int
    direction: NDArray[np.float64]
    radius: float
    parent: int


def murray_children(radius: float, ratio: float) -> tuple[float, float]:
    """Compute the radii of two child branches by Murray's law: ``radius**3 == thick**3 + thin**3``.

    Args:
        radius: Radius of the parent branch.
        ratio: ``thin / thick``, in (0, 1].

    Returns:
        ``(thick, thin)``.
    """
    thick = radius / (1.0 + ratio**3) ** (1.0 / 3.0)
    return thick, thick * ratio


def grow_tree(rng: np.random.Generator, extent: NDArray[np.float64], root_radius: float, style: TreeStyle) -> VesselGraph:
    """Grow one tree from a random position on a side of the volume.

    Args:
        rng: Random number generator.
        extent: (3,) float64, size of the volume along x, y, z, in its unit.
        root_radius: Radius of the root branch, in the same unit.
        style: Parameters of the branches and bifurcations.

    Returns:
        A connected graph without loops.
    """
    start, direction = _root(rng, extent)
    points, radii, branch = [start], [root_radius], [0]
    parents: list[int] = []
    edges: list[tuple[int, int]] = []
    buds = [_Bud(0, direction, root_radius, -1)]
    while buds:
        bud = buds.pop()
        number = len(parents)
        parents.append(bud.parent)
        at, heading = bud.point, bud.direction
        step = max(0.5 * bud.radius, 0.5 * style.min_radius)
        length = bud.radius * rng.uniform(*style.length_per_radius)
        for _ in range(max(2, int(length / step))):
            heading = _turn(rng, heading, style)
            position, heading = _stay_inside(points[at] + step * heading, heading, extent, bud.radius)
            points.append(position)
            radii.append(bud.radius)
            branch.append(number)
            edges.append((at, len(points) - 1))
            at = len(points) - 1
        for radius, angle in _fork(rng, bud.radius, style):
            buds.append(_Bud(at, _rotate(rng, heading, angle), radius, number))
    return VesselGraph(
        np.array(points),
        np.array(radii),
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        np.array(branch, dtype=np.int64),
        np.array(parents, dtype=np.int64),
    )


def _root(rng: np.random.Generator, extent: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    side, far = int(rng.integers(2)), bool(rng.integers(2))
    start = rng.uniform(0.15, 0.85, 3) * extent
    start[side] = extent[side] if far else 0.0
    direction = rng.normal(0.0, 0.35, 3) * np.array([1.0, 1.0, 0.3])
    direction[side] = -1.0 if far else 1.0
    return start, direction / np.linalg.norm(direction)


def _turn(rng: np.random.Generator, heading: NDArray[np.float64], style: TreeStyle) -> NDArray[np.float64]:
    turned = heading + rng.normal(0.0, style.tortuosity, 3)
    turned[2] *= style.flatness
    return turned / np.linalg.norm(turned)


def _stay_inside(
    position: NDArray[np.float64], heading: NDArray[np.float64], extent: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    margin = np.minimum(radius, 0.4 * extent)
    low, high = position < margin, position > extent - margin
    heading = np.where(low, np.abs(heading), np.where(high, -np.abs(heading), heading))
    return np.clip(position, np.minimum(margin, 0.25 * extent), extent - np.minimum(margin, 0.25 * extent)), heading


def _fork(rng: np.random.Generator, radius: float, style: TreeStyle) -> list[tuple[float, float]]:
    thick, thin = murray_children(radius, rng.uniform(*style.fork_ratio))
    # The thinner child has the larger angle, as in Murray's second paper.
    children = [(thick, rng.uniform(0.1, 0.5)), (thin, rng.uniform(0.4, 1.2))]
    return [(r, angle) for r, angle in children if r >= style.min_radius]


def _rotate(rng: np.random.Generator, heading: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    aside = rng.normal(size=3)
    aside -= (aside @ heading) * heading
    aside /= np.linalg.norm(aside)
    return np.cos(angle) * heading + np.sin(angle) * aside
