"""Propose the regions of one volume that an annotator should look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.review.analysis import PredictionAnalysis
from minivess.review.blocks import BlockFeatures, sum_blocks
from minivess.review.ranker import BlockSamples, Ranking, score_blocks
from minivess.review.region_selection import Objective, blocks_to_voxels, describe_region, select_boxes
from minivess.store.region import Region
from minivess.volume import Box

#: With more expected errors per predicted voxel, a queue of regions does not help.
RETRAIN_ABOVE = 0.5


@dataclass(frozen=True)
class Proposal:
    """Regions to look at.

    Attributes:
        regions: The regions, most expected errors first.
        ranked_by: ``"rule"``, or ``"answers"`` when a ranker was trained on answers.
        errors_per_predicted_voxel: Errors that the model expects, per voxel predicted as vessel.
        retrain_first: Why a queue does not help for this volume; empty when it helps.
    """

    regions: tuple[Region, ...]
    ranked_by: Ranking
    errors_per_predicted_voxel: float
    retrain_first: str


def propose_regions(
    analysis: PredictionAnalysis,
    *,
    count: int = 100,
    objective: Objective = "mass",
    reviewed: Iterable[Box] = (),
    samples: BlockSamples | None = None,
) -> Proposal:
    """Select the regions of a volume that an annotator should look at.

    Args:
        analysis: Analysis of its prediction.
        count: Number of regions at most.
        objective: Determines the size of the regions.
        reviewed: Boxes in voxels that were reviewed already; they are not proposed again.
        samples: Training samples from the answers in this volume and in others.
    """
    volume, blocks = analysis.volume, analysis.blocks
    score, ranked_by = score_blocks(blocks, samples)
    seen = reviewed_blocks(reviewed, blocks, volume.shape)
    boxes = select_boxes(blocks, score, volume.spacing_um, count=count, objective=objective, reviewed=seen)
    regions = tuple(describe_region(blocks_to_voxels(box, blocks, volume.shape), errors, analysis) for box, errors in boxes)
    share = analysis.errors_per_predicted_voxel
    return Proposal(regions, ranked_by, share, retrain_advice(share))


def reviewed_blocks(boxes: Iterable[Box], blocks: BlockFeatures, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return which blocks are, by more than half, inside of boxes.

    Args:
        boxes: In voxels.
        blocks: The blocks.
        shape: Shape (x, y, z) of the volume in voxels.

    Returns:
        (grid x, grid y, grid z) bool.
    """
    seen = np.zeros(shape, bool)
    for box in boxes:
        seen[box.slices] = True
    return np.asarray(sum_blocks(seen, blocks.block_shape) > blocks.to_grid(blocks.voxels) / 2)


def retrain_advice(errors_per_predicted_voxel: float) -> str:
    """Return why a queue does not help at so many expected errors per predicted voxel; empty when it helps."""
    if errors_per_predicted_voxel <= RETRAIN_ABOVE:
        return ""
    return (
        f"The model expects {errors_per_predicted_voxel:.2f} errors per voxel that it predicts as vessel (a queue helps up to "
        f"{RETRAIN_ABOVE}). Label a part of the volume completely and retrain first."
    )
