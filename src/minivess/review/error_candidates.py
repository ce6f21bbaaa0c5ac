"""Classify what may be wrong with each branch of the vessel skeleton: gap, spur, false merge, faint branch, blob, boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.review.error_probability import SMOOTHING_UM
from minivess.review.skeleton_graph import Branch, SkeletonGraph
from minivess.store.region import RegionKind

#: From this probability a voxel is a candidate for vessel: the skeleton is that of all candidates.
CANDIDATE_PROBABILITY = 0.12
#: Smaller components are noise.
MIN_COMPONENT_UM3 = 250.0
_BLOB_UM = 30.0
_FAINT = 0.7


@dataclass(frozen=True, eq=False)
class ErrorCandidate:
    """A branch and what may be wrong with it.

    Attributes:
        branch: The branch.
        kind: The most likely kind of error.
        expected_voxels: Expected number of its voxels that are significantly wrong.
        description: The same for the annotator.
    """

    branch: Branch
    kind: RegionKind
    expected_voxels: float
    description: str


def candidate_mask(
    probability: NDArray[np.float32],
    spacing_um: tuple[float, float, float],
    *,
    candidate_threshold: float = CANDIDATE_PROBABILITY,
) -> NDArray[np.bool_]:
    """Threshold everything that may be vessel, without holes and small components, so that it can be thinned.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        spacing_um: Voxel size along x, y, z.
        candidate_threshold: Lowest probability of a candidate, for example the lower bound of the ambiguous zone.

    Returns:
        (x, y, z) bool.
    """
    smooth = ndimage.gaussian_filter(probability, SMOOTHING_UM / np.asarray(spacing_um), truncate=3.0)
    union = smooth > candidate_threshold
    for z in range(union.shape[2]):
        union[..., z] = ndimage.binary_fill_holes(union[..., z])
    smallest = max(1, round(MIN_COMPONENT_UM3 / float(np.prod(spacing_um))))
    return np.asarray(cc3d.dust(union, threshold=smallest, connectivity=26) > 0)


def find_error_candidates(
    graph: SkeletonGraph,
    probability: NDArray[np.float32],
    mask: NDArray[np.bool_],
    error_probability: NDArray[np.float32],
) -> list[ErrorCandidate]:
    """Classify each branch of a skeleton.

    Args:
        graph: Skeleton of the :func:`candidate_mask`.
        probability: (x, y, z) float32 in [0, 1].
        mask: (x, y, z) bool, predicted vessel.
        error_probability: (x, y, z) float32 in [0, 1], of :func:`~minivess.review.error_probability.estimate_error_probability`.

    Returns:
        One candidate a branch, in the order of ``graph.branches``.
    """
    count = len(graph.branches)
    expected = np.bincount(graph.branch_labels.ravel(), weights=error_probability.ravel(), minlength=count + 1)[1:]
    along = [probability[tuple(branch.points.T)] for branch in graph.branches]
    predicted = [bool(mask[tuple(branch.points.T)].mean() >= 0.5) for branch in graph.branches]
    length_um = np.zeros(max((branch.component for branch in graph.branches), default=-1) + 1)
    for branch in graph.branches:
        length_um[branch.component] += branch.length_um
    candidates = []
    for index, branch in enumerate(graph.branches):
        isolated = bool(length_um[branch.component] < _BLOB_UM)
        thicker = [graph.branches[n].radius_um > branch.radius_um for n in branch.neighbours if predicted[n]]
        kind, what = _classify(branch, predicted[index], isolated, thicker, float(along[index].mean()))
        description = f"{what}, {branch.length_um:.0f} um long, probability {along[index].mean():.2f}"
        candidates.append(ErrorCandidate(branch, kind, float(expected[index]), description))
    return candidates


def _classify(
    branch: Branch, predicted: bool, isolated: bool, thicker: Sequence[bool], probability: float
) -> tuple[RegionKind, str]:
    """Return the kind of error and a description.

    Args:
        branch: The branch.
        predicted: Whether most of it was predicted as vessel.
        isolated: Whether it belongs to a small component.
        thicker: For each predicted neighbour, whether it is thicker.
        probability: Mean along the centre-line.
    """
    if isolated:
        return "blob", "an isolated component, predicted as vessel" if predicted else "an isolated component that may be a vessel"
    if not predicted:
        if branch.free_ends == 0 and len(thicker) >= 2:
            return "gap", "a possible gap in a vessel"
        return "faint branch", "a branch that may be a vessel, not predicted"
    if branch.free_ends and branch.length_um < 3 * branch.radius_um:
        return "spur", "a short spur on the side of a vessel"
    if probability < _FAINT and len(thicker) >= 2 and all(thicker):
        return "false merge", "a thin bridge between vessels"
    if probability < _FAINT:
        return "faint branch", "a faint branch, predicted as vessel"
    return "boundary", "a vessel with an uncertain outline"
