"""What a prediction alone says of where it may be wrong: answers change nothing in it, so it is made once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.review.cells import Cells, cut_in_cells
from minivess.review.findings import MIGHT_BE, Finding, find, might_be_vessel
from minivess.review.graph import vessel_graph
from minivess.review.suspicion import significant_error
from minivess.uncertainty import expected_errors_per_predicted_voxel
from minivess.volume import Volume


@dataclass(frozen=True, eq=False)
class Survey:
    """A volume looked over.

    Attributes:
        volume: Whose grid it is on: the image, or the probability.
        cells: The volume in cells, with what is known of each.
        findings: What is doubtful about each branch.
        points: (points, 3) int64, voxels of the centre-lines of all findings, one after the other.
        finding_of: (points,) which finding each belongs to.
        suspicion: (x, y, z) float16 in [0, 1], from :func:`minivess.review.suspicion.significant_error`.
        errors_per_predicted_voxel: What the model expects of itself.
    """

    volume: Volume
    cells: Cells
    findings: tuple[Finding, ...]
    points: NDArray[np.int64]
    finding_of: NDArray[np.int64]
    suspicion: NDArray[np.float16]
    errors_per_predicted_voxel: float


def look_over(
    probability: Volume, mask: NDArray[np.bool_], contrast: NDArray[np.float32], *, threshold: float, low: float = MIGHT_BE
) -> Survey:
    """Look a prediction over: some 9 s of one core for 512 x 512 x 64 voxels.

    Args:
        probability: float32 in [0, 1].
        mask: (x, y, z) what counts as vessel.
        contrast: (x, y, z) the image as the model sees it.
        threshold: Probability from which the model draws.
        low: Probability from which a voxel might be vessel; the lower bound of the ambiguous zone where one was calibrated.
    """
    spacing_um = probability.spacing_um
    suspicion = significant_error(probability.array, mask, spacing_um)
    cells = cut_in_cells(probability.array, mask, contrast, spacing_um, suspicion=suspicion)
    graph = vessel_graph(might_be_vessel(probability.array, spacing_um, low=low), spacing_um)
    findings = tuple(find(graph, probability.array, mask, suspicion))
    share = expected_errors_per_predicted_voxel(probability.array, threshold)
    lengths = [len(finding.branch.points) for finding in findings]
    points = np.concatenate([np.zeros((0, 3), np.int64), *(finding.branch.points for finding in findings)])
    owner = np.repeat(np.arange(len(findings)), lengths)
    return Survey(probability, cells, findings, points, owner, suspicion.astype(np.float16), share)
