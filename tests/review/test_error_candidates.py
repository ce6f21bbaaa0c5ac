"""Each kind of error once, on a made-up graph: the branch to classify and two thick vessels that it may meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from review.drawing import tube

from minivess.review.error_candidates import ErrorCandidate, candidate_mask, find_error_candidates
from minivess.review.skeleton_graph import Branch, SkeletonGraph

SHAPE = (50, 9, 3)


@dataclass(frozen=True)
class Example:
    """The branch to classify; ``meets`` counts the thick vessels (radius 5 um) that it meets."""

    kind: str
    what: str
    predicted: bool
    probability: float
    meets: int = 0
    free_ends: int = 0
    length_um: float = 40.0
    radius_um: float = 2.0


EXAMPLES = [
    Example("gap", "a possible gap in a vessel", False, 0.3, meets=2),
    Example("faint branch", "a branch that may be a vessel, not predicted", False, 0.3, meets=1, free_ends=1),
    Example("faint branch", "a faint branch, predicted as vessel", True, 0.6, meets=1, free_ends=1),
    Example("spur", "a short spur on the side of a vessel", True, 0.9, meets=1, free_ends=1, length_um=5.9),
    Example("boundary", "a vessel with an uncertain outline", True, 0.9, meets=1, free_ends=1, length_um=6.0),
    Example("false merge", "a thin bridge between vessels", True, 0.6, meets=2),
    Example("faint branch", "a faint branch, predicted as vessel", True, 0.6, meets=2, radius_um=6.0),
    Example("boundary", "a vessel with an uncertain outline", True, 0.71, meets=2),
    Example("blob", "an isolated component, predicted as vessel", True, 0.9, free_ends=2, length_um=29.0),
    Example("blob", "an isolated component that may be a vessel", False, 0.3, free_ends=2, length_um=29.0),
]


def points_at(y: int) -> np.ndarray:
    return np.array([(x, y, 1) for x in range(5, 45)])


def classify(example: Example) -> list[ErrorCandidate]:
    """The candidates of the example branch at y = 1, and of the vessels at y = 4 and y = 7."""
    neighbours = tuple(range(1, 1 + example.meets))
    branches = [Branch(points_at(1), example.length_um, example.radius_um, example.free_ends, 0, neighbours)]
    branches += [Branch(points_at(y), 40.0, 5.0, 0, 0 if neighbours else 1, (0,)) for y in (4, 7)]
    owner, probability = np.zeros(SHAPE, np.int32), np.full(SHAPE, 0.01, np.float32)
    mask, error_probability = np.zeros(SHAPE, bool), np.zeros(SHAPE, np.float32)
    for index, branch in enumerate(branches):
        window = tuple(branch.points.T)
        owner[window] = index + 1
        probability[window] = 0.95 if index else example.probability
        mask[window] = True if index else example.predicted
        error_probability[window] = 0.0 if index else 0.25
    return find_error_candidates(SkeletonGraph(tuple(branches), owner), probability, mask, error_probability)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.kind}, {example.what}")
def test_find_error_candidates__kind_and_description(example: Example) -> None:
    candidate, *others = classify(example)
    assert candidate.kind == example.kind
    length, probability = f"{example.length_um:.0f} um long", f"probability {example.probability:.2f}"
    assert candidate.description == f"{example.what}, {length}, {probability}"
    assert [other.kind for other in others] == ["boundary", "boundary"]


def test_find_error_candidates__expected_voxels_are_those_of_the_branch() -> None:
    candidates = classify(EXAMPLES[0])
    assert [candidate.expected_voxels for candidate in candidates] == [pytest.approx(10.0), 0.0, 0.0]
    assert [candidate.branch.points[0, 1] for candidate in candidates] == [1, 4, 7]


def test_find_error_candidates__none_without_branches() -> None:
    empty = np.zeros(SHAPE, np.float32)
    assert find_error_candidates(SkeletonGraph((), np.zeros(SHAPE, np.int32)), empty, empty > 0, empty) == []


def test_candidate_mask__without_holes_and_small_components() -> None:
    shape, spacing_um = (80, 60, 8), (1.0, 1.0, 5.0)
    vessel = tube(shape, ((8, 20, 4), (70, 20, 4)), radius=6)
    hole = tube(shape, ((38, 20, 4), (40, 20, 4)), radius=2)
    probability = np.where(vessel & ~hole, 0.9, 0.0).astype(np.float32)
    probability[20:24, 50:54, 2] = 0.9  # 16 voxels of 5 um3
    result = candidate_mask(probability, spacing_um)
    assert result[vessel].all()
    assert result[hole].all()
    assert not result[:, 45:].any()
    probability[20:36, 50:54, 2] = 0.9  # 64 voxels
    assert candidate_mask(probability, spacing_um)[22:34, 51:53, 2].all()


def test_candidate_mask__starts_at_the_candidate_threshold() -> None:
    probability = np.zeros((60, 30, 6), np.float32)
    probability[10:50, 10:20, 1:5] = 0.1
    assert not candidate_mask(probability, (1.0, 1.0, 5.0)).any()
    assert candidate_mask(probability, (1.0, 1.0, 5.0), candidate_threshold=0.08)[12:48, 12:18, 1:5].all()
