"""What a new model must not forget: sets of cases on which it may not be worse than the published one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from minivess.evaluate.gate_scores import GateScores, ReviewedCase
from minivess.synth import Kind, TwoPhotonOptics, make_sample

#: Largest fall of Dice or clDice, largest rise of the share of vessel in the background zone, that an anchor may show.
MARGIN = 0.02
#: Largest rise of the relative error in the number of components.
BETTI_MARGIN = 0.5
_SHAPE = (96, 96, 12)
_SEEDS = (70_001, 70_002)  # never trained on: synthetic training stacks have lower seeds
_OPTICS = {
    "bright": TwoPhotonOptics((0.7, 2.5), 80.0, 0.5, 400.0, 0.03, 0.05, 2.0, 0.7),
    "dim": TwoPhotonOptics((0.9, 3.5), 14.0, 1.5, 200.0, 0.10, 0.25, 8.0, 0.6),
}


@dataclass(frozen=True)
class Anchor:
    """A set of cases on which a new model may not be worse.

    Attributes:
        name: What a person reads in a refusal.
        cases: Reads the cases.
    """

    name: str
    cases: Callable[[], Iterable[ReviewedCase]]


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
            change = f"{self.before.betti0_error:.1f} to {self.after.betti0_error:.1f}"
            found.append(f"the number of pieces on {self.name} (relative error {change})")
        if self.before.missed is not None and self.after.missed is not None and self.after.missed > self.before.missed + MARGIN:
            found.append(
                f"{100 * (self.after.missed - self.before.missed):.0f} % of the vessel on {self.name} to the background zone"
            )
        return found


def synthetic_anchors(modality: str) -> list[Anchor]:
    """Return a fixed panel of small synthetic stacks by calibre and contrast; empty where the modality has no synthesis.

    Args:
        modality: Key of :data:`minivess.models.MODALITIES`.
    """
    if modality == "mr_angiography":
        return [Anchor("synthetic arteries", lambda: _stacks("tof", None))]
    if modality not in ("two_photon", "light_sheet"):
        return []
    kinds: dict[str, Kind] = {"capillaries": "capillary", "large vessels": "large"}
    return [
        Anchor(f"synthetic {light} {name}", lambda kind=kind, light=light: _stacks(kind, _OPTICS[light]))  # type: ignore[misc]
        for name, kind in kinds.items()
        for light in _OPTICS
    ]


def _stacks(kind: Kind, optics: TwoPhotonOptics | None) -> Iterator[ReviewedCase]:
    for seed in _SEEDS:
        sample = make_sample(kind, seed, shape=_SHAPE, optics=optics)
        yield ReviewedCase(sample.image, sample.mask, np.ones(_SHAPE, bool))
