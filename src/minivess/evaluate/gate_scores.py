"""Score a model for the promotion gate: only where a person has looked or drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.metrics import betti_numbers, cldice, dsc
from minivess.models import Segmenter
from minivess.volume import Volume


@dataclass(frozen=True, eq=False)
class ReviewedCase:
    """A case to score a model on.

    Attributes:
        image: The image.
        label: uint8 mask on its grid.
        reviewed: (x, y, z) bool, voxels whose label somebody has reviewed; the others do not count.
    """

    image: Volume
    label: Volume
    reviewed: NDArray[np.bool_]


@dataclass(frozen=True)
class GateScores:
    """Mean scores of a model over cases, on their reviewed voxels.

    Attributes:
        dice: Dice similarity coefficient, in [0, 1].
        cldice: Centre-line Dice, in [0, 1].
        betti0_error: Error in the number of components, ``|log2((predicted + 1) / (reference + 1))|``: 1 is twice or half.
        missed: Share of vessel voxels that the background zone contains, in [0, 1]; None without a zone.
    """

    dice: float
    cldice: float
    betti0_error: float
    missed: float | None = None

    @property
    def overlap(self) -> float:
        """Mean of Dice and clDice: a new model is better when it is higher."""
        return (self.dice + self.cldice) / 2

    def to_json(self) -> dict[str, float | None]:
        """Return the scores by name."""
        return asdict(self)


def score_model(segmenter: Segmenter, cases: Iterable[ReviewedCase], *, background_below: float | None = None) -> GateScores:
    """Score a model on the reviewed voxels of cases.

    Args:
        segmenter: The model.
        cases: The cases; one at a time is in memory.
        background_below: Upper limit of the background zone of the published model, a probability.

    Raises:
        InputError: When there is no case.
    """
    return mean_scores(score_cases(segmenter, cases, background_below=background_below))


def score_cases(
    segmenter: Segmenter, cases: Iterable[ReviewedCase], *, background_below: float | None = None
) -> list[GateScores]:
    """Score a model on the reviewed voxels of each case.

    Args:
        segmenter: The model.
        cases: The cases; one at a time is in memory.
        background_below: Upper limit of the background zone of the published model, a probability.
    """
    return [_score(segmenter, case, background_below) for case in cases]


def mean_scores(rows: Sequence[GateScores]) -> GateScores:
    """Return the mean of scores.

    Raises:
        InputError: When there are none.
    """
    if not rows:
        raise InputError("A model is scored on at least one labelled case. Got none.")
    missed = [row.missed for row in rows if row.missed is not None]
    return GateScores(
        dice=float(np.mean([row.dice for row in rows])),
        cldice=float(np.mean([row.cldice for row in rows])),
        betti0_error=float(np.mean([row.betti0_error for row in rows])),
        missed=float(np.mean(missed)) if missed else None,
    )


def _score(segmenter: Segmenter, case: ReviewedCase, background_below: float | None) -> GateScores:
    prediction = segmenter.predict(case.image)
    reference, mask = ((array > 0) & case.reviewed for array in (case.label.array, prediction.mask.array))
    pieces, wanted = (betti_numbers(array)[0] for array in (mask, reference))
    missed = None
    if background_below is not None and reference.any():
        is_background = (prediction.probability.array <= background_below) & ~mask
        missed = float(is_background[reference].mean())
    return GateScores(dsc(reference, mask), cldice(reference, mask), abs(math.log2((pieces + 1) / (wanted + 1))), missed)
