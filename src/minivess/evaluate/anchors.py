"""What a new model must not forget: sets of cases on which it may not be worse than the published one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import compress

import numpy as np

from minivess.evaluate.gate_scores import GateScores, ReviewedCase, mean_scores, score_cases
from minivess.models import Segmenter
from minivess.synth import Kind, make_sample

#: Largest fall of Dice or clDice, largest rise of the share of vessel in the background zone, that an anchor may show.
MARGIN = 0.03
#: Largest rise of the error in the number of components, in doublings.
BETTI_MARGIN = 1.0
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
_TOF_SHAPE, _TOF_SEEDS = (64, 64, 48), (70_001, 70_002)


@dataclass(frozen=True)
class Anchor:
    """A set of cases on which a new model may not be worse.

    Attributes:
        name: What a person reads in a refusal.
        cases: Reads the cases.
        known_from: Dice of the published model from which a case counts: what it does not know it cannot forget.
    """

    name: str
    cases: Callable[[], Iterable[ReviewedCase]]
    known_from: float = 0.0


@dataclass(frozen=True)
class AnchorResult:
    """Scores of the published and the new model on an anchor.

    Attributes:
        name: Name of the anchor.
        before: Scores of the published model.
        after: Scores of the new model.
    """

    name: str
    before: GateScores
    after: GateScores

    @property
    def losses(self) -> list[str]:
        """What the new model would lose here, beyond the margins; empty when the anchor holds."""
        found = []
        for name, before, after in (
            ("Dice", self.before.dice, self.after.dice),
            ("clDice", self.before.cldice, self.after.cldice),
        ):
            if after < before - MARGIN:
                found.append(f"{before - after:.2f} {name} on {self.name}")
        if self.after.betti0_error > self.before.betti0_error + BETTI_MARGIN:
            factors = [f"{2**scores.betti0_error:.1f}" for scores in (self.before, self.after)]
            found.append(
                f"the right number of pieces on {self.name} (wrong by a factor of {factors[0]} before, {factors[1]} now)"
            )
        if self.before.missed is not None and self.after.missed is not None and self.after.missed > self.before.missed + MARGIN:
            found.append(
                f"{100 * (self.after.missed - self.before.missed):.0f} % of the vessel on {self.name} to the background zone"
            )
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

    def compare(self, model: Segmenter) -> AnchorResult | None:
        """Score another model on the cases that the published one knows; None when it knows none."""
        known = [scores.dice >= self.anchor.known_from for scores in self.before]
        if not any(known):
            return None
        after = score_cases(model, compress(self.anchor.cases(), known), background_below=self.background_below)
        return AnchorResult(self.anchor.name, mean_scores(list(compress(self.before, known))), mean_scores(after))


def synthetic_anchors(modality: str) -> list[Anchor]:
    """Return a fixed panel of small synthetic stacks by calibre and contrast; empty where the modality has no synthesis.

    Args:
        modality: Key of :data:`minivess.models.MODALITIES`.
    """
    if modality == "mr_angiography":
        return [Anchor("synthetic arteries", lambda: _stacks("tof", _TOF_SEEDS, _TOF_SHAPE, None))]
    if modality not in ("two_photon", "light_sheet"):
        return []
    return [
        Anchor(f"synthetic {name}", partial(_stacks, "randomised", seeds, _SHAPE, _SPACING_UM), KNOWN_DICE)
        for name, seeds in _PANEL.items()
    ]


def _stacks(
    kind: Kind, seeds: Iterable[int], shape: tuple[int, int, int], spacing: tuple[float, float, float] | None
) -> Iterator[ReviewedCase]:
    for seed in seeds:
        sample = make_sample(kind, seed, shape=shape, spacing=spacing)
        yield ReviewedCase(sample.image, sample.mask, np.ones(shape, bool))
