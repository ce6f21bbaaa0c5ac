"""Generate vessels of any calibre and density, for domain randomisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minivess.synth.graph import VesselGraph
from minivess.synth.mesh import capillary_mesh
from minivess.synth.raster import rasterise
from minivess.synth.tree import TreeStyle, grow_tree

_MAX_JUNCTIONS = 400
_MAX_FOREGROUND = 0.40
_MAX_TREES = 8


def draw_spacing(rng: np.random.Generator) -> tuple[float, float, float]:
    """Sample a voxel size along x, y, z in um: 0.3 to 3 in plane, 1 to 6 along z and never finer than in plane."""
    plane = float(np.exp(rng.uniform(np.log(0.3), np.log(3.0))))
    return plane, plane, float(max(plane, np.exp(rng.uniform(np.log(1.0), np.log(6.0)))))


def random_vessels(rng: np.random.Generator, shape: tuple[int, int, int], spacing_um: tuple[float, float, float]) -> VesselGraph:
    """Generate a capillary bed, larger vessels, or both, which may be missing in the first and last slices.

    Args:
        rng: Random number generator.
        shape: Number of voxels along x, y, z.
        spacing_um: Voxel size along x, y, z in um.
    """
    top, bottom = (int(rng.integers(1, max(2, shape[2] // 4))) if rng.random() < 0.25 else 0 for _ in range(2))
    inner = (shape[0], shape[1], max(4, shape[2] - top - bottom))
    extent = np.array(inner) * np.array(spacing_um)
    kind = rng.random()  # 40 % capillaries, 25 % larger vessels, 35 % both
    graph = _capillaries(rng, extent) if kind < 0.75 else _tree(rng, extent)
    if kind >= 0.4:
        graph = _with_trees(rng, inner, spacing_um, graph)
    return replace(graph, points=graph.points + np.array([0.0, 0.0, top * spacing_um[2]]))


def _capillaries(rng: np.random.Generator, extent: NDArray[np.float64]) -> VesselGraph:
    """Generate capillaries of 2 to 4 um radius, with at most so many junctions that a wide field stays affordable."""
    distance = float(np.exp(rng.uniform(np.log(22.0), np.log(70.0))))
    distance = max(distance, float((np.prod(extent) / _MAX_JUNCTIONS) ** (1 / 3)))
    thin = rng.uniform(1.8, 3.0)
    return capillary_mesh(
        rng, extent, junction_distance=distance, radius=(thin, thin * rng.uniform(1.1, 1.7)), tortuosity=rng.uniform(0.1, 0.4)
    )


def _with_trees(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_um: tuple[float, float, float], graph: VesselGraph
) -> VesselGraph:
    """Add arterioles, venules and pial vessels until a random share of the volume is vessel."""
    extent = np.array(shape) * np.array(spacing_um)
    target = rng.uniform(0.03, _MAX_FOREGROUND)
    mask = rasterise(graph, shape, spacing_um).mask
    for _ in range(_MAX_TREES):
        if mask.mean() >= target:
            break
        tree = _tree(rng, extent)
        graph = graph.joined(tree)
        mask |= rasterise(tree, shape, spacing_um).mask
    return graph


def _tree(rng: np.random.Generator, extent: NDArray[np.float64]) -> VesselGraph:
    """Grow a tree of any calibre, up to an eighth of the field."""
    widest = max(4.0, min(45.0, 0.12 * float(extent[:2].min())))
    root = float(np.exp(rng.uniform(np.log(3.5), np.log(widest))))
    style = TreeStyle(
        min_radius=max(2.5, rng.uniform(0.25, 0.6) * root),
        length_per_radius=(4.0, rng.uniform(8.0, 16.0)),
        fork_ratio=(0.3, 0.95),
        tortuosity=rng.uniform(0.04, 0.14),
        flatness=rng.uniform(0.8, 1.0),
    )
    return grow_tree(rng, extent, root, style)
