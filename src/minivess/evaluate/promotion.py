"""The promotion gate: new weights replace the published ones only when they are not worse on the same cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.metrics import dsc
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
class Promotion:
    """The decision of the gate.

    Attributes:
        promoted: Whether the new weights were published.
        dice: Mean Dice of the new weights.
        dice_before: Mean Dice of the published weights; None when there were none to compare with.
    """

    promoted: bool
    dice: float
    dice_before: float | None

    @property
    def state(self) -> str:
        """The decision in words."""
        return "published" if self.promoted else "kept the published model: the new one is worse"

    def to_json(self) -> dict[str, Any]:
        """Return plain values, by the names of MONAI Label's training statistics."""
        return {"state": self.state, "validation_dice": self.dice, "published_dice_before": self.dice_before}


def mean_dice(segmenter: Segmenter, cases: Iterable[ReviewedCase]) -> float:
    """Compute the mean Dice over cases, on the reviewed voxels.

    Args:
        segmenter: The model.
        cases: The cases; one at a time is in memory.

    Raises:
        InputError: When there is no case.
    """
    scores = [dsc(case.label.array & case.reviewed, segmenter.predict(case.image).mask.array & case.reviewed) for case in cases]
    if not scores:
        raise InputError("A model is scored on at least one labelled case. Got none.")
    return sum(scores) / len(scores)


def promote_if_not_worse(
    candidate: Segmenter,
    published: Segmenter | None,
    cases: Callable[[], Iterable[ReviewedCase]],
    publish: Callable[[], object],
) -> Promotion:
    """Score new and published weights on the same cases, and publish the new ones when they are not worse.

    Args:
        candidate: The model with the new weights.
        published: The model with the published weights; None when there is none.
        cases: Reads the cases; called once a model.
        publish: Replaces the published weights.
    """
    dice = mean_dice(candidate, cases())
    before = mean_dice(published, cases()) if published is not None else None
    promoted = before is None or dice >= before
    if promoted:
        publish()
    return Promotion(promoted, dice, before)
