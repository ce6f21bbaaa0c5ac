"""How far the review of an image is, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minivess.store import Place

#: From so many timed answers on, their pace counts instead of the fixed estimate.
PACE_FROM = 5


@dataclass(frozen=True)
class Progress:
    """How far a review is.

    Attributes:
        places: How many are asked about, answered ones included.
        answered: How many were answered.
        errors_handled: Share of the expected errors that lie in accepted or mended places, in [0, 1].
        seconds_left: How long the others will take, at the pace of the answers so far.
    """

    places: int
    answered: int
    errors_handled: float
    seconds_left: float


def progress_of(places: Sequence[Place]) -> Progress:
    """Sum up the places of an image; obsolete ones do not count."""
    asked = [place for place in places if place.state != "obsolete"]
    open_places = [place for place in asked if place.state in ("pending", "leased")]
    total = sum(place.region["expected_errors"] for place in asked)
    handled = sum(place.region["expected_errors"] for place in asked if place.state in ("accepted", "fixed"))
    estimate = sum(place.region["cost_s"] for place in open_places)
    timed = [place for place in asked if place not in open_places and "seconds" in place.answer]
    pace = 1.0
    if len(timed) >= PACE_FROM:
        pace = sum(place.answer["seconds"] for place in timed) / sum(place.region["cost_s"] for place in timed)
    return Progress(len(asked), len(asked) - len(open_places), handled / total if total else 1.0, estimate * pace)
