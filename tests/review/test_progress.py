from __future__ import annotations

import pytest
from review.example import make_region

from minivess.review.progress import MIN_TIMED_ANSWERS, ReviewProgress, review_progress
from minivess.store import Answer, QueueItem
from minivess.store.queue_item import QueueState
from minivess.volume import Box


def item(state: QueueState, expected_errors: float, cost_s: float, seconds: float | None = None) -> QueueItem:
    answer = Answer(1, "", seconds) if state in ("accepted", "fixed", "skipped") else None
    region = make_region(Box(0, 8, 0, 8, 0, 2), expected_errors, cost_s)
    return QueueItem("a:1.0", "a", region, "one", state, "ann", answer)


def test_review_progress__of_an_empty_queue() -> None:
    assert review_progress([]) == ReviewProgress(0, 0, 1.0, 0.0)


def test_review_progress__obsolete_items_do_not_count_and_skipped_ones_handle_no_error() -> None:
    items = [
        item("accepted", 2.0, 5.0),
        item("fixed", 1.0, 7.0),
        item("skipped", 1.0, 9.0),
        item("pending", 4.0, 6.0),
        item("leased", 2.0, 8.0),
        item("obsolete", 100.0, 100.0),
    ]
    assert review_progress(items) == ReviewProgress(5, 3, pytest.approx(0.3), pytest.approx(14.0))


def test_review_progress__the_pace_of_the_answers_replaces_the_estimate_once_there_are_enough() -> None:
    pending = [item("pending", 1.0, 10.0), item("leased", 1.0, 4.0)]
    timed = [item("accepted", 1.0, 2.0 + n, seconds=3 * (2.0 + n)) for n in range(MIN_TIMED_ANSWERS)]
    untimed = [item("accepted", 1.0, 50.0)] * 9
    assert review_progress(pending + timed[1:] + untimed).seconds_left == pytest.approx(14.0)
    assert review_progress(pending + timed + untimed).seconds_left == pytest.approx(3 * 14.0)
    assert review_progress(timed).seconds_left == 0.0


def test_review_progress__to_json_calls_items_places_as_over_http() -> None:
    values = {"places": 4, "answered": 2, "errors_handled": 0.5, "seconds_left": 12.0}
    assert ReviewProgress(4, 2, 0.5, 12.0).to_json() == values
