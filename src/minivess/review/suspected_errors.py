"""Where in a region the model may be wrong: the error candidates inside a box, the worst first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.review.analysis import PredictionAnalysis
from minivess.store.region import RegionKind
from minivess.volume import Box

#: Beside the worst one, an error counts where so many of its voxels inside the box are expected to be wrong.
MIN_EXPECTED_VOXELS = 1.0


@dataclass(frozen=True, eq=False)
class SuspectedError:
    """One error that is suspected inside a box.

    Attributes:
        kind: Kind of error.
        description: The same for the annotator.
        expected_voxels: Expected number of its voxels inside the box that are wrong.
        points: (points, 3) int64, its centre-line voxels (i, j, k) inside the box.
    """

    kind: RegionKind
    description: str
    expected_voxels: float
    points: NDArray[np.int64]

    @property
    def centre(self) -> NDArray[np.int64]:
        """The voxel (i, j, k) in the middle of its centre line."""
        return np.asarray(self.points[len(self.points) // 2])

    def to_json(self) -> dict[str, Any]:
        """Return the error as plain values."""
        return {
            "kind": self.kind,
            "reason": self.description,
            "expected_voxels": self.expected_voxels,
            "centre": self.centre.tolist(),
            "points": self.points.tolist(),
        }


def suspected_errors(analysis: PredictionAnalysis, box: Box) -> list[SuspectedError]:
    """Return the errors that are suspected inside a box, the one with most expected wrong voxels first.

    Args:
        analysis: Analysis of the prediction for the whole volume.
        box: In voxels.
    """
    low, high = np.array(box.low), np.array(box.high)
    inside = np.flatnonzero(((analysis.points >= low) & (analysis.points < high)).all(axis=1))
    found = []
    for index in np.unique(analysis.candidate_index[inside]):
        candidate = analysis.candidates[index]
        points = analysis.points[inside[analysis.candidate_index[inside] == index]]
        expected = candidate.expected_voxels * len(points) / len(candidate.branch.points)
        found.append(SuspectedError(candidate.kind, candidate.description, expected, points))
    found.sort(key=lambda error: -error.expected_voxels)
    return found[:1] + [error for error in found[1:] if error.expected_voxels > MIN_EXPECTED_VOXELS]
