"""How far the review of an image is, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minivess.store import QueueItem

#: From so many timed answers on, their pace replaces the fixed estimate.
MIN_TIMED_ANSWERS = 5


@dataclass(frozen=True)
class ReviewProgress:
    """Progress of a review.

    Attributes:
        items: Number of queue items, answered ones included.
        answered: Number of answered items.
        errors_handled: Share of the expected errors that are in accepted or corrected regions, in [0, 1].
        seconds_left: Estimated time for the other items, at the pace of the answers so far.
    """

    items: int
    answered: int
    errors_handled: float
    seconds_left: float

    def to_json(self) -> dict[str, Any]:
        """Return the progress as plain values; over HTTP the number of items is called ``places``."""
        values = asdict(self)
        return {"places": values.pop("items"), **values}


def review_progress(items: Sequence[QueueItem]) -> ReviewProgress:
    """Compute the progress from all items of an image; obsolete ones do not count."""
    counted = [item for item in items if item.state != "obsolete"]
    pending = [item for item in counted if item.state in ("pending", "leased")]
    total = sum(item.region.expected_errors for item in counted)
    handled = sum(item.region.expected_errors for item in counted if item.state in ("accepted", "fixed"))
    estimate_s = sum(item.region.cost_s for item in pending)
    timed = [(item.answer.seconds, item.region.cost_s) for item in counted if item.answer and item.answer.seconds is not None]
    pace = 1.0
    if len(timed) >= MIN_TIMED_ANSWERS:
        pace = sum(seconds for seconds, _ in timed) / sum(cost_s for _, cost_s in timed)
    return ReviewProgress(len(counted), len(counted) - len(pending), handled / total if total else 1.0, estimate_s * pace)
