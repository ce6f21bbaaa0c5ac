"""The queue of places of one volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.models import Prediction
from minivess.review.cells import Cells, cut_in_cells, sum_cells
from minivess.review.findings import MIGHT_BE, find, might_be_vessel
from minivess.review.graph import vessel_graph
from minivess.review.places import Order, choose_boxes, describe, in_voxels
from minivess.review.ranker import Answers, rank
from minivess.review.region import Box, Region
from minivess.review.suspicion import significant_error
from minivess.uncertainty import expected_errors_per_predicted_voxel

#: From so many expected errors per predicted voxel on, a queue of places is no help.
RETRAIN_FIRST = 0.5


@dataclass(frozen=True)
class Proposal:
    """Which places to look at.

    Attributes:
        regions: The one that is most worth it first.
        ranked_by: ``"rule"``, or ``"answers"`` where those so far taught something.
        errors_per_predicted_voxel: What the model expects of itself.
        retrain_first: Why a queue is useless for this volume; empty where it is not.
    """

    regions: tuple[Region, ...]
    ranked_by: str
    errors_per_predicted_voxel: float
    retrain_first: str


def propose(
    prediction: Prediction,
    contrast: NDArray[np.float32],
    *,
    count: int = 100,
    order: Order = "mass",
    reviewed: Iterable[Box] = (),
    answers: Answers | None = None,
    low: float = MIGHT_BE,
) -> Proposal:
    """Choose the places of a volume that a person should look at.

    Args:
        prediction: What the model thinks of it.
        contrast: (x, y, z) the image as the model sees it.
        count: How many places at most.
        order: ``"mass"``: most errors per decision. ``"density"``: most errors per volume.
        reviewed: Boxes that were answered; they do not come back.
        answers: What was found in answered places, here and in other volumes.
        low: Probability from which a voxel might be vessel; the lower bound of the ambiguous zone where one was calibrated.
    """
    volume, spacing_um = prediction.probability, prediction.probability.spacing_um
    probability, mask = volume.array, prediction.mask.array > 0
    suspicion = significant_error(probability, mask, spacing_um)
    cells = cut_in_cells(probability, mask, contrast, spacing_um, suspicion=suspicion)
    score, how = rank(cells, answers)
    boxes = choose_boxes(cells, score, spacing_um, count=count, order=order, reviewed=seen_cells(reviewed, cells, volume.shape))
    findings = find(vessel_graph(might_be_vessel(probability, spacing_um, low=low), spacing_um), probability, mask, suspicion)
    share = expected_errors_per_predicted_voxel(probability, prediction.threshold)
    regions = tuple(describe(in_voxels(box, cells, volume.shape), worth, findings, volume, suspicion) for box, worth in boxes)
    return Proposal(regions, how, share, useless(share))


def seen_cells(boxes: Iterable[Box], cells: Cells, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Say which cells lie, by more than half, in boxes of voxels."""
    seen = np.zeros(shape, bool)
    for x0, x1, y0, y1, z0, z1 in boxes:
        seen[x0:x1, y0:y1, z0:z1] = True
    return np.asarray(sum_cells(seen, cells.edge) > cells.as_grid(cells.voxels) / 2)


def useless(share: float) -> str:
    """Say why a queue of places is no help at so many expected errors per predicted voxel; empty where it is one."""
    if share <= RETRAIN_FIRST:
        return ""
    return (
        f"The model expects {share:.2f} errors per voxel that it draws (a queue helps up to {RETRAIN_FIRST}). Label some of the "
        "volume whole and retrain first."
    )
