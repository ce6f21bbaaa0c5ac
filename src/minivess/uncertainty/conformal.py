"""Conformal risk control: find a probability below which at most a given share of vessel is lost, on average over subjects.

The unit is the subject (an animal, a patient), never the voxel: voxels of one volume are not exchangeable. Of each
calibration volume only its curve stays in memory, about 33 KB. Angelopoulos et al., Conformal Risk Control, arXiv 2208.02814.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.metrics.centreline import centreline_lengths

#: Candidate thresholds: MAPIE's grid of hundredths, and 4096 evenly spaced levels; as they are in single precision, in which
#: probabilities are compared with them: 0.07 is not above 0.07 then.
LEVELS: NDArray[np.float64] = np.unique(
    np.concatenate([np.arange(0, 1, 0.01), np.arange(4096) / 4096]).astype(np.float32)
).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Curve:
    """Loss of a calibration volume at every level.

    Attributes:
        subject: The animal or patient.
        losses: float64, one for each of :data:`LEVELS`, in [0, 1]: share of the vessel whose probability is at most the level.
    """

    subject: str
    losses: NDArray[np.float64]


@dataclass(frozen=True)
class Zones:
    """Calibrated limits between background, ambiguous and vessel.

    Attributes:
        lower: Up to this probability a voxel is background, unless it is in the mask of its volume, whose threshold may be lower.
        upper: Median threshold of the masks of the calibration volumes: from there a voxel is vessel, between both ambiguous.
        alpha: The share of vessel that may be lost in the background zone, on average over new subjects.
        subjects: Number of calibration subjects.
        loss: ``"voxels"`` or ``"length"``: share of vessel voxels, or of centre-line length.
    """

    lower: float
    upper: float
    alpha: float
    subjects: int
    loss: str

    def __post_init__(self) -> None:
        """Check the order of the limits.

        Raises:
            InputError: When lower is above upper, so that a voxel would be background and vessel.
        """
        if not 0.0 <= self.lower <= self.upper <= 1.0:
            raise InputError(f"Zones need 0 <= lower <= upper <= 1. Got lower {self.lower}, upper {self.upper}.")

    def statement(self) -> str:
        """Return the guarantee and its limit in one sentence, for users."""
        share = "of the vessel voxels" if self.loss == "voxels" else "of the centre-line length"
        return (
            f"Calibrated on {self.subjects} subjects: in a new one of the same kind at most {100 * self.alpha:g} % {share} "
            f"are in the background zone, on average over subjects; a single one may lose more."
        )


def voxel_curve(probability: NDArray[np.float32], reference: NDArray[np.bool_], subject: str) -> Curve:
    """Compute the false-negative rate of a volume at every level.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        reference: (x, y, z) bool, the true mask on the same grid.
        subject: The animal or patient.

    Raises:
        InputError: When the reference is empty, so that nothing can be lost.
    """
    return _curve(probability[reference], None, subject)


def length_curve(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], subject: str, *, spacing_um: tuple[float, float, float]
) -> Curve:
    """Compute the lost share of the reference's centre-line length at every level.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        reference: (x, y, z) bool, the true mask on the same grid; its centre-line is fixed, so the loss grows with the level.
        subject: The animal or patient.
        spacing_um: Voxel size (x, y, z) in um.

    Raises:
        InputError: When the reference has no centre-line.
    """
    voxels, lengths_um = centreline_lengths(reference, spacing_um)
    return _curve(probability[tuple(voxels.T)], lengths_um, subject)


def check_subjects(count: int, alpha: float) -> None:
    """Check that there are enough subjects for a share that may be lost, before anything is computed.

    Args:
        count: Number of calibration subjects.
        alpha: Share that may be lost, in (0, 1).

    Raises:
        InputError: When alpha is not in (0, 1), or there are too few subjects for it.
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha must be a share between 0 and 1. Got {alpha}.")
    needed = math.ceil(round(1 / alpha - 1, 9))
    if count < needed:
        raise InputError(
            f"Not enough volumes: need {needed} subjects for a loss of {100 * alpha:g} %. Got {count}. "
            f"Annotate more of them, or choose {100 / (count + 1):.3g} % or more."
        )


def control_risk(curves: Sequence[Curve], alpha: float, *, upper: float, loss: str = "voxels") -> Zones:
    """Return zones with the highest level whose expected loss stays below ``alpha``.

    Args:
        curves: Curves of the calibration volumes; those of one subject are averaged.
        alpha: Share that may be lost, in (0, 1).
        upper: Threshold of the mask.
        loss: Loss of the curves, ``"voxels"`` or ``"length"``.

    Raises:
        InputError: When alpha is not in (0, 1), there are too few subjects for it, or even the lowest level loses more.
    """
    groups: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for curve in curves:
        groups[curve.subject].append(curve.losses)
    count = len(groups)
    check_subjects(count, alpha)
    risk = np.mean([np.mean(losses, axis=0) for losses in groups.values()], axis=0)
    bound = count / (count + 1) * risk + 1 / (count + 1)
    beyond = np.flatnonzero(bound > alpha + 1e-12)  # as many subjects as are needed, and nothing lost: the bound equals alpha
    first = int(beyond[0]) if beyond.size else LEVELS.size
    if first == 0:
        raise InputError(
            f"Even the lowest level loses more than {100 * alpha:g} %: vessel has a probability of 0. Retrain the model first."
        )
    # A lower level loses less, so that the guarantee holds for the smaller of both: a sure model has no ambiguous zone.
    return Zones(min(float(LEVELS[first - 1]), upper), upper, alpha, count, loss)


def _curve(scores: NDArray[np.float32], weights: NDArray[np.float64] | None, subject: str) -> Curve:
    if not scores.size:
        raise InputError(f"A calibration volume of {subject} has no vessel in its reference. Leave it out.")
    level = np.searchsorted(LEVELS, scores.astype(np.float64), side="left")
    lost = np.bincount(level, weights=weights, minlength=LEVELS.size + 1)[: LEVELS.size].cumsum()
    return Curve(subject, lost / (scores.size if weights is None else weights.sum()))
