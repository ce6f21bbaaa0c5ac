"""The ground truth of a synthetic volume: points along vessels, their radii and their connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, eq=False)
class VesselGraph:
    """A vessel network as a graph of densely sampled points.

    Attributes:
        points: (n, 3) float64, position along x, y, z in the volume's unit, measured from the outer corner of voxel (0, 0, 0).
        radius: (n,) float64, in the volume's unit.
        edges: (m, 2) int64, indices of two points that are neighbours along a vessel; the second one is of the edge's branch.
        branch: (n,) int64, branch of each point; 0 for the junctions of a mesh, where several branches meet.
        parent: (branches,) int64, parent of each branch; -1 for a root.
    """

    points: NDArray[np.float64]
    radius: NDArray[np.float64]
    edges: NDArray[np.int64]
    branch: NDArray[np.int64]
    parent: NDArray[np.int64]

    def scaled(self, factor: float) -> VesselGraph:
        """Return the graph with all radii multiplied by ``factor``."""
        return VesselGraph(self.points, self.radius * factor, self.edges, self.branch, self.parent)

    def joined(self, other: VesselGraph) -> VesselGraph:
        """Return the union of two graphs, without new edges between them."""
        branches, points = len(self.parent), len(self.points)
        shifted = np.where(other.parent >= 0, other.parent + branches, -1)
        return VesselGraph(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.radius, other.radius]),
            np.concatenate([self.edges, other.edges + points]),
            np.concatenate([self.branch, other.branch + branches]),
            np.concatenate([self.parent, shifted]),
        )

    @property
    def betti(self) -> tuple[int, int]:
        """Number of connected components and of independent loops."""
        n = len(self.points)
        links = coo_matrix((np.ones(len(self.edges)), (self.edges[:, 0], self.edges[:, 1])), shape=(n, n))
        components = int(connected_components(links, directed=False)[0])
        return components, len(self.edges) - n + components

    @property
    def length(self) -> float:
        """Total length of all vessels, in the volume's unit."""
        return float(np.linalg.norm(self.points[self.edges[:, 0]] - self.points[self.edges[:, 1]], axis=1).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the graph as lists, rounded to four decimals, for a JSON file."""
        return {
            "points": np.round(self.points, 4).tolist(),
            "radius": np.round(self.radius, 4).tolist(),
            "edges": self.edges.tolist(),
            "branch": self.branch.tolist(),
            "parent": self.parent.tolist(),
        }
