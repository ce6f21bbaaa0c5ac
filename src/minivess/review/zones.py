"""What calibrated zones mean for a review: the lowest probability of a candidate, and the statement for annotators."""

from __future__ import annotations

from collections.abc import Callable

from minivess.review.error_candidates import CANDIDATE_PROBABILITY
from minivess.uncertainty import Zones

#: Returns the zones that were calibrated for weights, by their SHA-256; None when there are none.
ZonesOf = Callable[[str], Zones | None]


def candidate_threshold_for(zones_of: ZonesOf, weights_sha256: str) -> float:
    """Return the lowest probability that may be vessel: the lower bound of the ambiguous zone, but at most a fixed default.

    The zones of a sure model may have no ambiguous part, and a queue that followed them would propose nothing.

    Args:
        zones_of: Looks up zones.
        weights_sha256: SHA-256 of the weights.
    """
    zones = zones_of(weights_sha256)
    return min(zones.lower, CANDIDATE_PROBABILITY) if zones else CANDIDATE_PROBABILITY


def statement_for(zones_of: ZonesOf, weights_sha256: str) -> str:
    """Return what the zones of a model guarantee; empty when they were not calibrated.

    Args:
        zones_of: Looks up zones.
        weights_sha256: SHA-256 of the weights.
    """
    zones = zones_of(weights_sha256)
    return zones.statement() if zones else ""
