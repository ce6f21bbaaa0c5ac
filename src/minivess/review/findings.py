"""What is doubtful about each branch of the vessel graph, in the words of somebody who traces vessels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.review.graph import Branch, VesselGraph
from minivess.review.region import Kind
from minivess.review.suspicion import SMOOTHING_UM

#: From this probability on a voxel might be vessel: the graph is that of all these voxels.
MIGHT_BE = 0.12
#: Smaller specks are noise.
SPECK_UM3 = 250.0
_BLOB_UM = 30.0
_FAINT = 0.7


@dataclass(frozen=True, eq=False)
class Finding:
    """A branch, and what may be wrong with it.

    Attributes:
        branch: The branch.
        kind: What may be wrong.
        expected_voxels: How many of its voxels are expected to be significantly wrong.
        words: The same for a person.
    """

    branch: Branch
    kind: Kind
    expected_voxels: float
    words: str


def might_be_vessel(
    probability: NDArray[np.float32], spacing_um: tuple[float, float, float], *, low: float = MIGHT_BE
) -> NDArray[np.bool_]:
    """Cut everything that might be vessel, smooth enough to be thinned: without holes and specks.

    Args:
        probability: (x, y, z) in [0, 1].
        spacing_um: Voxel size along x, y, z.
        low: Probability from which a voxel counts, for example the lower bound of the ambiguous zone.
    """
    smooth = ndimage.gaussian_filter(probability, SMOOTHING_UM / np.asarray(spacing_um), truncate=3.0)
    union = smooth > low
    for z in range(union.shape[2]):
        union[..., z] = ndimage.binary_fill_holes(union[..., z])
    speck = max(1, round(SPECK_UM3 / float(np.prod(spacing_um))))
    return np.asarray(cc3d.dust(union, threshold=speck, connectivity=26) > 0)


def find(
    graph: VesselGraph, probability: NDArray[np.float32], mask: NDArray[np.bool_], suspicion: NDArray[np.float32]
) -> list[Finding]:
    """Say of each branch what may be wrong with it.

    Args:
        graph: Of what might be vessel.
        probability: (x, y, z) in [0, 1].
        mask: What was predicted as vessel.
        suspicion: From :func:`minivess.review.suspicion.significant_error`.
    """
    count = len(graph.branches)
    expected = np.bincount(graph.owner.ravel(), weights=suspicion.ravel(), minlength=count + 1)[1:]
    along = [probability[tuple(b.points.T)] for b in graph.branches]
    drawn = [bool(mask[tuple(b.points.T)].mean() >= 0.5) for b in graph.branches]
    length_um = np.zeros(max((b.component for b in graph.branches), default=-1) + 1)
    for branch in graph.branches:
        length_um[branch.component] += branch.length_um
    findings = []
    for index, branch in enumerate(graph.branches):
        alone = bool(length_um[branch.component] < _BLOB_UM)
        thicker = [graph.branches[n].radius_um > branch.radius_um for n in branch.neighbours if drawn[n]]
        kind, what = _judge(branch, drawn[index], alone, thicker, float(along[index].mean()))
        words = f"{what}, {branch.length_um:.0f} um long, probability {along[index].mean():.2f}"
        findings.append(Finding(branch, kind, float(expected[index]), words))
    return findings


def _judge(branch: Branch, drawn: bool, alone: bool, thicker: Sequence[bool], probability: float) -> tuple[Kind, str]:
    """Name what may be wrong with a branch.

    Args:
        branch: The branch.
        drawn: Whether it was predicted as vessel.
        alone: Whether it belongs to a small piece of its own.
        thicker: For each drawn neighbour, whether it is the thicker one.
        probability: Mean along the centre-line.
    """
    if alone:
        return "blob", "an isolated piece, drawn as vessel" if drawn else "an isolated piece that may be a vessel, not drawn"
    if not drawn:
        if branch.free_ends == 0 and len(thicker) >= 2:
            return "gap", "a gap between vessels that may be one"
        return "faint branch", "a branch that may be a vessel, not drawn"
    if branch.free_ends and branch.length_um < 3 * branch.radius_um:
        return "spur", "a short end on the side of a vessel"
    if probability < _FAINT and len(thicker) >= 2 and all(thicker):
        return "false merge", "a thin bridge between vessels"
    if probability < _FAINT:
        return "faint branch", "a faint branch, drawn as vessel"
    return "boundary", "a vessel whose outline is unsure"
