"""What a new model must not forget: sets of cases on which it may not be worse than the published one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress

import numpy as np

from minivess.evaluate.gate_scores import GateScores, ReviewedCase, mean_scores, score_cases
from minivess.models import Segmenter
from minivess.synth import Kind, make_sample


@dataclass(frozen=True)
class Margins:
    """What a new model may lose on an anchor.

    Attributes:
        overlap: Largest fall of the mean of Dice and clDice.
        pieces: Largest rise of the error in the number of components, in doublings.
        missed: Largest rise of the share of vessel in the background zone.
    """

    overlap: float
    pieces: float
    missed: float


#: Of a whole set of cases.
MARGINS = Margins(overlap=0.03, pieces=1.0, missed=0.03)
#: Of one family of a set: a mean of one to four stacks goes up and down by itself (docs/evidence/learning.md).
FAMILY_MARGINS = Margins(overlap=0.08, pieces=2.0, missed=0.08)
_SHAPE, _SPACING_UM = (128, 128, 12), (1.0, 1.0, 4.0)
#: Seeds of randomised stacks, by calibre and contrast; synthetic training stacks have lower seeds.
_PANEL = {
    "bright capillaries": (70_005, 70_022, 70_026, 70_027),
    "dim capillaries": (70_003, 70_029, 70_041),
    "bright large vessels": (70_010, 70_021, 70_058),
    "dim large vessels": (70_024, 70_071, 70_154),
}
#: A synthetic stack counts where the published model has at least this Dice: near chance, scores go up and down by themselves.
KNOWN_DICE = 0.5
#: Scores of the published and of the new model on one case.
ScorePair = tuple[GateScores, GateScores]
_TOF_SHAPE, _TOF_SEEDS = (64, 64, 48), (70_001, 70_002)


@dataclass(frozen=True)
class Anchor:
    """A set of cases on which a new model may not be worse.

    Attributes:
        name: What a person reads in a refusal.
        cases: Reads the cases.
        known_from: Dice of the published model from which a case counts: what it does not know it cannot forget.
        part_of: Name of the set of which the cases are a family: it has wider margins than the whole set.
    """

    name: str
    cases: Callable[[], Iterable[ReviewedCase]]
    known_from: float = 0.0
    part_of: str = ""


@dataclass(frozen=True)
class AnchorResult:
    """Scores of the published and the new model on an anchor.

    Attributes:
        name: Name of the anchor.
        before: Scores of the published model.
        after: Scores of the new model.
        margins: What the new model may lose.
    """

    name: str
    before: GateScores
    after: GateScores
    margins: Margins = MARGINS

    @property
    def losses(self) -> list[str]:
        """What the new model would lose here, beyond the margins; empty when the anchor holds."""
        found, before, after = [], self.before, self.after
        if after.overlap < before.overlap - self.margins.overlap:
            found.append(f"{before.dice - after.dice:.2f} Dice and {before.cldice - after.cldice:.2f} clDice on {self.name}")
        if after.betti0_error > before.betti0_error + self.margins.pieces:
            factors = [f"{2**scores.betti0_error:.1f}" for scores in (before, after)]
            found.append(
                f"the right number of pieces on {self.name} (wrong by a factor of {factors[0]} before, {factors[1]} now)"
            )
        if before.missed is not None and after.missed is not None and after.missed > before.missed + self.margins.missed:
            found.append(f"{100 * (after.missed - before.missed):.0f} % of the vessel on {self.name} to the background zone")
        return found


@dataclass(frozen=True)
class KnownAnchor:
    """An anchor with the scores of the published model.

    Attributes:
        anchor: The anchor.
        before: Scores of the published model on each of its cases.
        background_below: Upper limit of its background zone.
    """

    anchor: Anchor
    before: tuple[GateScores, ...]
    background_below: float | None

    @classmethod
    def of(cls, anchor: Anchor, published: Segmenter, background_below: float | None) -> KnownAnchor:
        """Score the published model on an anchor.

        Args:
            anchor: The anchor.
            published: The published model.
            background_below: Upper limit of its background zone, a probability.
        """
        before = score_cases(published, anchor.cases(), background_below=background_below)
        return cls(anchor, tuple(before), background_below)

    def score(self, model: Segmenter) -> list[ScorePair]:
        """Return the scores of the published and another model on each case that the published one knows."""
        known = [scores.dice >= self.anchor.known_from for scores in self.before]
        cases = compress(self.anchor.cases(), known)
        after = score_cases(model, cases, background_below=self.background_below) if any(known) else []
        return list(zip(compress(self.before, known), after, strict=True))


def compare_anchors(scores: Iterable[tuple[Anchor, Sequence[ScorePair]]]) -> tuple[AnchorResult, ...]:
    """Compare two models on anchors, and on the sets that these are families of; anchors without scores are left out.

    Args:
        scores: Anchors with the scores of the published and the new model on each case.
    """
    found: list[AnchorResult] = []
    sets: dict[str, list[ScorePair]] = {}
    for anchor, pairs in scores:
        if pairs:
            found.append(_result(anchor.name, pairs, FAMILY_MARGINS if anchor.part_of else MARGINS))
            sets.setdefault(anchor.part_of, []).extend(pairs)
    sets.pop("", None)
    return (*found, *(_result(name, pairs, MARGINS) for name, pairs in sets.items()))


def _result(name: str, pairs: Sequence[ScorePair], margins: Margins) -> AnchorResult:
    return AnchorResult(name, mean_scores([before for before, _ in pairs]), mean_scores([after for _, after in pairs]), margins)


def synthetic_anchors(modality: str) -> list[Anchor]:
    """Return a fixed panel of small synthetic stacks by calibre and contrast; empty where the modality has no synthesis.

    Args:
        modality: Key of :data:`minivess.models.MODALITIES`.
    """
    if modality in ("mr_angiography", "ct_angiography"):
        kind: Kind = "tof" if modality == "mr_angiography" else "cta"
        return [Anchor("synthetic arteries", lambda: _stacks(kind, _TOF_SEEDS, _TOF_SHAPE, None))]
    if modality not in ("two_photon", "light_sheet"):
        return []
    cases = {name: partial(_stacks, "randomised", seeds, _SHAPE, _SPACING_UM) for name, seeds in _PANEL.items()}
    return [Anchor(f"synthetic {name}", read, KNOWN_DICE, part_of="all synthetic stacks") for name, read in cases.items()]


def _stacks(
    kind: Kind, seeds: Iterable[int], shape: tuple[int, int, int], spacing: tuple[float, float, float] | None
) -> Iterator[ReviewedCase]:
    for seed in seeds:
        sample = make_sample(kind, seed, shape=shape, spacing=spacing)
        yield ReviewedCase(sample.image, sample.mask, np.ones(shape, bool))
