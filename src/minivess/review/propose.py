"""The queue of places of one volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.review.cells import Cells, sum_cells
from minivess.review.places import Order, choose_boxes, describe, in_voxels
from minivess.review.ranker import Answers, rank
from minivess.review.region import Box, Region
from minivess.review.survey import Survey

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
    survey: Survey, *, count: int = 100, order: Order = "mass", reviewed: Iterable[Box] = (), answers: Answers | None = None
) -> Proposal:
    """Choose the places of a volume that a person should look at.

    Args:
        survey: What its prediction says, from :func:`minivess.review.survey.look_over`.
        count: How many places at most.
        order: ``"mass"``: most errors per decision. ``"density"``: most errors per volume.
        reviewed: Boxes that were answered; they do not come back.
        answers: What was found in answered places, here and in other volumes.
    """
    volume, cells = survey.volume, survey.cells
    score, how = rank(cells, answers)
    seen = seen_cells(reviewed, cells, volume.shape)
    boxes = choose_boxes(cells, score, volume.spacing_um, count=count, order=order, reviewed=seen)
    placed = ((in_voxels(box, cells, volume.shape), worth) for box, worth in boxes)
    regions = tuple(describe(box, worth, survey) for box, worth in placed)
    return Proposal(regions, how, survey.errors_per_predicted_voxel, useless(survey.errors_per_predicted_voxel))


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
