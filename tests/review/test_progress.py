from __future__ import annotations

from collections.abc import Iterable

import pytest
from review.example import make_region

from minivess.review.progress import ReviewProgress, review_progress
from minivess.store import Answer, QueueItem
from minivess.store.queue_item import QueueState
from minivess.volume import Box


def item(state: QueueState, expected_errors: float, cost_s: float, seconds: float | None = None) -> QueueItem:
    answer = Answer(1, "", seconds) if state in ("accepted", "fixed", "skipped") else None
    region = make_region(Box(0, 8, 0, 8, 0, 2), expected_errors, cost_s)
    return QueueItem("a:1.0", "a", region, "one", state, "ann", answer)


def share_of_errors(boxes: Iterable[Box]) -> float:
    return 0.2 * len(list(boxes))


def test_review_progress__of_an_empty_queue() -> None:
    assert review_progress([], share_of_errors) == ReviewProgress(0, 0, 0.0, 0.0, 0.0, (0.0, 0.0))


def test_review_progress__obsolete_items_do_not_count_and_skipped_ones_handle_no_error() -> None:
    items = [
        item("accepted", 2.0, 5.0),
        item("fixed", 1.0, 7.0),
        item("skipped", 1.0, 9.0),
        item("pending", 4.0, 6.0),
        item("leased", 2.0, 8.0),
        item("obsolete", 100.0, 100.0),
    ]
    progress = review_progress(items, share_of_errors)
    assert (progress.items, progress.answered) == (5, 3)
    assert (progress.errors_handled, progress.errors_in_queue) == (pytest.approx(0.4), pytest.approx(1.0))
    assert progress.seconds_left == pytest.approx(14.0)
    assert progress.seconds_left_range == (pytest.approx(7.0), pytest.approx(28.0))


def test_review_progress__the_pace_of_the_answers_replaces_the_estimate_little_by_little() -> None:
    pending = [item("pending", 1.0, 10.0), item("leased", 1.0, 4.0)]
    timed = [item("accepted", 1.0, 8.0, seconds=0.4) for _ in range(90)]
    untimed = [item("accepted", 1.0, 50.0)] * 9
    left = [review_progress(pending + untimed + timed[:n], share_of_errors) for n in (0, 1, 5, 10, 90)]
    assert [progress.seconds_left for progress in left] == pytest.approx([14.0, 12.79, 9.57, 7.35, 2.03], abs=0.01)
    widths = [progress.seconds_left_range[1] / progress.seconds_left for progress in left]
    assert widths == sorted(widths, reverse=True)


def test_review_progress__to_json_calls_items_places_as_over_http() -> None:
    values = {"places": 4, "answered": 2, "errors_handled": 0.5, "errors_in_queue": 0.7, "seconds_left": 12.0}
    values |= {"seconds_left_range": (8.0, 18.0), "checks": 3, "checks_right": 2, "skipped": 1}
    assert ReviewProgress(4, 2, 0.5, 0.7, 12.0, (8.0, 18.0), 3, 2, 1).to_json() == values
