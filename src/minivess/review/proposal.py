"""Propose the regions of one volume that an annotator should look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minivess.review.analysis import PredictionAnalysis
from minivess.review.random_checks import ONE_IN, add_random_checks
from minivess.review.ranker import BlockSamples, Ranking, score_blocks
from minivess.review.region_selection import Objective, blocks_to_voxels, describe_region, reviewed_blocks, select_boxes
from minivess.store.region import Region
from minivess.volume import Box

#: With more expected errors per predicted voxel, a queue of regions does not help.
RETRAIN_ABOVE = 0.5


@dataclass(frozen=True)
class Proposal:
    """Regions to look at.

    Attributes:
        regions: The regions in the order of the queue: most expected errors first, and among them those drawn at random.
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
    rng: np.random.Generator | None = None,
) -> Proposal:
    """Select the regions of a volume that an annotator should look at.

    Args:
        analysis: Analysis of its prediction.
        count: Number of regions at most.
        objective: Determines the size of the regions.
        reviewed: Boxes in voxels that were reviewed already; they are not proposed again.
        samples: Training samples from the answers in this volume and in others.
        rng: Draws one region in ten at random; without it all are ranked.
    """
    volume, blocks = analysis.volume, analysis.blocks
    score, ranked_by = score_blocks(blocks, samples)
    reviewed = tuple(reviewed)
    seen = reviewed_blocks(reviewed, blocks, volume.shape)
    ranked = count if rng is None else count - count // ONE_IN
    boxes = select_boxes(blocks, score, volume.spacing_um, count=ranked, objective=objective, reviewed=seen)
    regions = tuple(describe_region(blocks_to_voxels(box, blocks, volume.shape), errors, analysis) for box, errors in boxes)
    if rng is not None:
        regions = add_random_checks(regions, analysis, score, rng, reviewed=reviewed, objective=objective)
    share = analysis.errors_per_predicted_voxel
    return Proposal(regions, ranked_by, share, retrain_advice(share))


def retrain_advice(errors_per_predicted_voxel: float) -> str:
    """Return why a queue does not help at so many expected errors per predicted voxel; empty when it helps."""
    if errors_per_predicted_voxel <= RETRAIN_ABOVE:
        return ""
    return (
        f"The model expects {errors_per_predicted_voxel:.2f} errors per voxel that it predicts as vessel (a queue helps up to "
        f"{RETRAIN_ABOVE}). Label a part of the volume completely and retrain first."
    )
