"""Analyse a prediction once: error probability, block features and error candidates. Answers do not change any of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.review.blocks import BlockFeatures, compute_block_features
from minivess.review.error_candidates import CANDIDATE_PROBABILITY, ErrorCandidate, candidate_mask, find_error_candidates
from minivess.review.error_probability import estimate_error_probability
from minivess.review.skeleton_graph import skeleton_graph
from minivess.uncertainty import expected_errors_per_predicted_voxel
from minivess.volume import Volume


@dataclass(frozen=True, eq=False)
class PredictionAnalysis:
    """What a prediction says about its own errors.

    Attributes:
        volume: The volume whose grid everything is on: the image, or the probability.
        blocks: Features of the blocks.
        candidates: One error candidate a branch.
        points: (points, 3) int64, centre-line voxels of all candidates, one candidate after the other.
        candidate_index: (points,) int64, the candidate that each point belongs to.
        error_probability: (x, y, z) float16 in [0, 1].
        errors_per_predicted_voxel: Errors that the model expects, per voxel predicted as vessel.
    """

    volume: Volume
    blocks: BlockFeatures
    candidates: tuple[ErrorCandidate, ...]
    points: NDArray[np.int64]
    candidate_index: NDArray[np.int64]
    error_probability: NDArray[np.float16]
    errors_per_predicted_voxel: float


def analyse_prediction(
    probability: Volume,
    mask: NDArray[np.bool_],
    contrast: NDArray[np.float32],
    *,
    threshold: float,
    candidate_threshold: float = CANDIDATE_PROBABILITY,
) -> PredictionAnalysis:
    """Analyse a prediction; about 9 s on one core for 512 x 512 x 64 voxels.

    Args:
        probability: float32 in [0, 1].
        mask: (x, y, z) bool, predicted vessel.
        contrast: (x, y, z) float32, the image as the network sees it.
        threshold: Lowest probability that counts as vessel.
        candidate_threshold: Lowest probability that may be vessel; the lower bound of the ambiguous zone when it was calibrated.
    """
    spacing_um = probability.spacing_um
    error_probability = estimate_error_probability(probability.array, mask, spacing_um)
    blocks = compute_block_features(probability.array, mask, contrast, spacing_um, error_probability=error_probability)
    graph = skeleton_graph(candidate_mask(probability.array, spacing_um, candidate_threshold=candidate_threshold), spacing_um)
    candidates = tuple(find_error_candidates(graph, probability.array, mask, error_probability))
    lengths = [len(candidate.branch.points) for candidate in candidates]
    return PredictionAnalysis(
        volume=probability,
        blocks=blocks,
        candidates=candidates,
        points=np.concatenate([np.zeros((0, 3), np.int64), *(candidate.branch.points for candidate in candidates)]),
        candidate_index=np.repeat(np.arange(len(candidates)), lengths),
        error_probability=error_probability.astype(np.float16),
        errors_per_predicted_voxel=expected_errors_per_predicted_voxel(probability.array, threshold),
    )
