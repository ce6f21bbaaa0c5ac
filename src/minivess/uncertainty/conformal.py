"""Conformal risk control: a probability below which, on average over new subjects, at most a stated share of vessel is lost.

The unit is the subject (an animal, a patient), never the voxel: voxels of one volume are not exchangeable. Of each
calibration volume only its curve is kept, about 33 KB. Angelopoulos et al., Conformal Risk Control, arXiv 2208.02814.
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

#: Probabilities that may become a threshold: MAPIE's grid of hundredths, and 4096 levels between.
LEVELS: NDArray[np.float64] = np.unique(np.concatenate([np.arange(0, 1, 0.01), np.arange(4096) / 4096]))


@dataclass(frozen=True, eq=False)
class Curve:
    """What is kept of a calibration volume.

    Attributes:
        subject: Whom it is from.
        losses: float64, one for each of :data:`LEVELS`: share of the vessel whose probability does not exceed the level.
    """

    subject: str
    losses: NDArray[np.float64]


@dataclass(frozen=True)
class Zones:
    """A calibrated cut of probabilities in background, ambiguous and vessel.

    Attributes:
        lower: Up to this probability a voxel is background.
        upper: From this probability it is vessel, as in the mask; between both it is ambiguous.
        alpha: The share of vessel that may be lost below ``lower``, on average over new subjects.
        subjects: How many were calibrated on.
        loss: ``"voxels"`` or ``"length"``: what the share is of.
    """

    lower: float
    upper: float
    alpha: float
    subjects: int
    loss: str

    def of(self, probability: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Cut a volume: 0 background, 1 ambiguous, 2 vessel; the same shape as the probability."""
        zones = (probability > self.lower).astype(np.uint8)
        zones[probability >= self.upper] = 2
        return zones

    def sentence(self) -> str:
        """Say what it promises, and what not."""
        share = "of the vessel voxels" if self.loss == "voxels" else "of the centre-line length"
        return (
            f"Calibrated on {self.subjects} subjects: in a new one of the same kind at most {100 * self.alpha:g} % {share} "
            f"lie in the background zone, on average over subjects; a single one may lose more."
        )


def voxel_curve(probability: NDArray[np.float32], reference: NDArray[np.bool_], subject: str) -> Curve:
    """Measure the false-negative rate of a volume at every level.

    Args:
        probability: (x, y, z) in [0, 1].
        reference: The true mask on the same grid.
        subject: Whom the volume is from.

    Raises:
        InputError: When the reference is empty: such a volume says nothing about what is lost.
    """
    return _curve(probability[reference], None, subject)


def length_curve(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], subject: str, *, spacing_um: tuple[float, float, float]
) -> Curve:
    """Measure, at every level, the share of the reference's centre-line length that is lost.

    Args:
        probability: (x, y, z) in [0, 1].
        reference: The true mask on the same grid; its centre-line is fixed, so the loss only grows with the level.
        subject: Whom the volume is from.
        spacing_um: Voxel size.

    Raises:
        InputError: When the reference has no centre-line.
    """
    voxels, lengths_um = centreline_lengths(reference, spacing_um)
    return _curve(probability[tuple(voxels.T)], lengths_um, subject)


def control_risk(curves: Sequence[Curve], alpha: float, *, upper: float, loss: str = "voxels") -> Zones:
    """Choose the highest level whose expected loss stays below ``alpha``.

    Args:
        curves: Of the calibration volumes; those of one subject count as one, by their mean.
        alpha: Share that may be lost, in (0, 1).
        upper: Probability from which the mask says vessel.
        loss: What the curves measured, ``"voxels"`` or ``"length"``.

    Raises:
        InputError: When there are too few subjects for that share: then only "everything is vessel" would hold.
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha is a share between 0 and 1. Got {alpha}.")
    groups: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for curve in curves:
        groups[curve.subject].append(curve.losses)
    count, needed = len(groups), math.ceil(round(1 / alpha - 1, 9))
    if count < needed:
        raise InputError(
            f"Not enough volumes: need {needed} subjects for a loss of {100 * alpha:g} %. Got {count}. "
            f"Annotate more of them, or ask for {100 / (count + 1):.3g} % or more."
        )
    risk = np.mean([np.mean(losses, axis=0) for losses in groups.values()], axis=0)
    bound = count / (count + 1) * risk + 1 / (count + 1)
    beyond = np.flatnonzero(bound >= alpha)
    first = int(beyond[0]) if beyond.size else LEVELS.size
    if first == 0:
        raise InputError(
            f"Not even the lowest level loses less than {100 * alpha:g} %: vessel has a probability of 0. Retrain it first."
        )
    return Zones(float(LEVELS[first - 1]), upper, alpha, count, loss)


def _curve(scores: NDArray[np.float32], weights: NDArray[np.float64] | None, subject: str) -> Curve:
    if not scores.size:
        raise InputError(f"A calibration volume of {subject} has no vessel in its reference. Leave it out.")
    at = np.searchsorted(LEVELS, scores.astype(np.float64), side="left")
    lost = np.bincount(at, weights=weights, minlength=LEVELS.size + 1)[: LEVELS.size].cumsum()
    return Curve(subject, lost / (scores.size if weights is None else weights.sum()))
