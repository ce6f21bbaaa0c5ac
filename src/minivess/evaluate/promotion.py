"""The promotion gate: new weights are published when they are better on reviewed regions and forget nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minivess.errors import InputError, WeightsError
from minivess.evaluate.anchors import MARGINS, Anchor, AnchorResult, KnownAnchor, compare_anchors
from minivess.evaluate.gate_scores import GateScores, ReviewedCase, score_model
from minivess.models import Segmenter

#: From this mean of Dice and clDice the published model has nothing to be corrected in.
_RIGHT = 0.995
#: Scores of a model that cannot predict.
_NOTHING = GateScores(dice=0.0, cldice=0.0, betti0_error=0.0)


@dataclass(frozen=True)
class Promotion:
    """The decision of the gate on one candidate.

    Attributes:
        candidate: Name of the candidate, for example the share of new weights.
        scores: Scores of the candidate on the reviewed cases.
        before: Scores of the published model there; None when there was none to compare with.
        anchors: Scores of both on every anchor; without a published model there are none.
        fault: Why the candidate cannot predict; empty where it can.
    """

    candidate: str
    scores: GateScores
    before: GateScores | None = None
    anchors: tuple[AnchorResult, ...] = ()
    fault: str = ""

    @property
    def gain(self) -> float:
        """Rise of the mean of Dice and clDice on the reviewed cases."""
        return self.scores.overlap - (self.before.overlap if self.before else 0.0)

    @property
    def losses(self) -> list[str]:
        """What it would lose on the anchors."""
        return [loss for anchor in self.anchors for loss in anchor.losses]

    @property
    def promoted(self) -> bool:
        """Whether the candidate is published: it is better, and no anchor falls."""
        return not self.fault and (self.before is None or (self.gain > 0 and not self.losses))

    @property
    def state(self) -> str:
        """The decision in words."""
        if self.promoted:
            return "published"
        if self.fault:
            return f"kept the published model: the new one cannot predict. {self.fault}"
        if self.losses:
            return f"kept the published model: the new one would have lost {', '.join(self.losses)}"
        if self.before and self.before.overlap > _RIGHT:
            return (
                "kept the published model: it is right, or nearly, in all reviewed regions that judge. Hardly any model can be "
                "better; correct regions where it is wrong, and train again"
            )
        return "kept the published model: the new one is not better on the reviewed regions"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the names of the first three are those of MONAI Label's training statistics."""
        return {
            "state": self.state,
            "validation_dice": self.scores.dice,
            "published_dice_before": self.before.dice if self.before else None,
            "candidate": self.candidate,
            "scores": self.scores.to_json(),
            "scores_before": self.before.to_json() if self.before else None,
            "anchors": [
                {"name": a.name, "before": a.before.to_json(), "after": a.after.to_json(), "losses": a.losses}
                for a in self.anchors
            ],
            "margin": MARGINS.overlap,
        }


def choose_model(
    candidates: Mapping[str, Callable[[], Segmenter]],
    published: Segmenter | None,
    cases: Callable[[], Iterable[ReviewedCase]],
    anchors: Sequence[Anchor] = (),
    *,
    background_below: float | None = None,
) -> Promotion:
    """Score candidates and the published model on the same cases, and choose the best candidate that forgets nothing.

    Args:
        candidates: Name -> loads the model; without a published model the first one is chosen.
        published: The published model; None when there is none.
        cases: Reads the reviewed cases; called once a model.
        anchors: Cases on which no candidate may be worse than the published model, beyond the stated margins.
        background_below: Upper limit of the published model's background zone, whose promise is one more anchor.

    Returns:
        The decision on the best candidate that may be published; on the one with the highest gain when none may.

    Raises:
        InputError: When there is no candidate or no case.
    """
    if not candidates:
        raise InputError("The gate compares at least one new model. Got none.")
    if published is None:
        name, load = next(iter(candidates.items()))
        return Promotion(name, score_model(load(), cases()))
    before = score_model(published, cases())
    known = [KnownAnchor.of(anchor, published, background_below) for anchor in anchors]
    decisions = []
    for name, load in candidates.items():
        try:
            model = load()
            scores = score_model(model, cases())
            results: tuple[AnchorResult, ...] = ()
            if scores.overlap > before.overlap:  # otherwise it is refused anyway
                results = compare_anchors((anchor.anchor, anchor.score(model)) for anchor in known)
        except WeightsError as error:  # a training or a merge that diverged
            decisions.append(Promotion(name, _NOTHING, before, fault=str(error)))
        else:
            decisions.append(Promotion(name, scores, before, results))
    return best_of(decisions)


def best_of(decisions: Iterable[Promotion]) -> Promotion:
    """Return the decision with the highest gain among those that publish; among all where none does."""
    return max(decisions, key=lambda decision: (decision.promoted, decision.gain))
