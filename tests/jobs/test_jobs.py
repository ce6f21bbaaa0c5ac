"""Jobs: who goes first, who stops, and what others see."""

from __future__ import annotations

import threading
import time

import pytest

from minivess.errors import BusyError, CancelledError, ConflictError, DeadlineError, InputError, NotFoundError
from minivess.jobs import Job, Jobs, Urgency, current_job


def slow(job: Job, order: list[str], name: str, place: str, steps: int = 20) -> None:
    with job.turn(place):
        for step in range(steps):
            order.append(name)
            time.sleep(0.01)
            job.progress(step / steps)


def test_a_click_goes_before_a_batch_that_runs_already() -> None:
    jobs, order = Jobs(), []
    batch = jobs.start(Job("scoring", urgency=Urgency.BATCH), lambda: slow(current_job(), order, "batch", "here"))
    while not order:
        time.sleep(0.01)
    jobs.run(Job("infer"), lambda: slow(current_job(), order, "click", "here"))
    assert not batch.over
    while not batch.over:
        time.sleep(0.01)
    assert batch.state == "done"
    first, last = order.index("click"), len(order) - 1 - order[::-1].index("click")
    assert first > 0
    assert last < len(order) - 1
    assert set(order[first : last + 1]) == {"click"}  # nothing of the batch in between


def test_equals_go_in_their_order() -> None:
    jobs, order = Jobs(), []
    started = []
    for name in "abc":
        started.append(jobs.start(Job("infer"), lambda name=name: slow(current_job(), order, name, "queue", 5)))
        time.sleep(0.02)
    while not all(job.over for job in started):
        time.sleep(0.01)
    assert order == ["a"] * 5 + ["b"] * 5 + ["c"] * 5


def test_cancel_stops_one_that_runs_and_one_that_waits() -> None:
    jobs, order = Jobs(), []
    runs = jobs.start(Job("infer"), lambda: slow(current_job(), order, "runs", "c", 1000))
    while not order:
        time.sleep(0.01)
    waits = jobs.start(Job("infer"), lambda: slow(current_job(), order, "waits", "c"))
    for job in (waits, runs):
        job.cancel("b-reader")
        start = time.monotonic()
        while not job.over:
            time.sleep(0.01)
        assert time.monotonic() - start < 5
        assert job.state == "cancelled"
        assert "b-reader" in job.message
    assert set(order) == {"runs"}
    jobs.run(Job("infer"), lambda: slow(current_job(), order, "next", "c", 1))  # the place is free again


def test_one_that_is_cancelled_while_it_gives_way_takes_nobody_s_place() -> None:
    jobs, order = Jobs(), []
    batch = jobs.start(Job("scoring", urgency=Urgency.BATCH), lambda: slow(current_job(), order, "batch", "d", 1000))
    while not order:
        time.sleep(0.01)
    click = jobs.start(Job("infer"), lambda: slow(current_job(), order, "click", "d", 30))
    while "click" not in order:
        time.sleep(0.01)
    batch.cancel("x")
    other = jobs.start(Job("infer"), lambda: slow(current_job(), order, "other", "d", 3))
    while not (batch.over and click.over and other.over):
        time.sleep(0.01)
    assert order.index("other") > len(order) - 1 - order[::-1].index("click")


def test_a_deadline_counts_from_the_request_also_in_the_queue() -> None:
    jobs = Jobs()
    long = jobs.start(Job("infer"), lambda: slow(current_job(), [], "", "e", 100))
    with pytest.raises(DeadlineError, match=r"0\.1 s"):
        jobs.run(Job("infer", timeout_s=0.1), lambda: slow(current_job(), [], "", "e"))
    long.cancel("x")


def test_what_others_see() -> None:
    jobs = Jobs(remembered=3, at_once=2)
    assert jobs.run(Job("infer", id="one", subject="m"), lambda: current_job().id) == "one"
    with pytest.raises(InputError):
        jobs.run(Job("infer", id="two"), lambda: (_ for _ in ()).throw(InputError("not like that")))
    with pytest.raises(ZeroDivisionError):
        jobs.run(Job("infer", id="three"), lambda: 1 // 0)
    assert [(job.id, job.state, job.message) for job in jobs.all()] == [
        ("one", "done", ""),
        ("two", "failed", "not like that"),
        ("three", "failed", "ZeroDivisionError"),
    ]
    for index in range(5):
        jobs.run(Job("scoring", id=f"s{index}"), lambda: None)
    assert len(jobs.all("scoring")) == 3
    jobs.run(Job("infer", id="four"), lambda: None)
    with pytest.raises(NotFoundError):
        jobs.get("one")
    assert jobs.start(Job("scoring", id="r"), lambda: {"mean": 1}).id == "r"
    while not jobs.get("r").over:
        time.sleep(0.01)
    assert jobs.get("r").to_json()["result"] == {"mean": 1}


def test_too_many_and_the_same_twice_are_refused() -> None:
    jobs, gate = Jobs(at_once=2), threading.Event()
    first = jobs.start(Job("infer", id="a"), gate.wait)
    with pytest.raises(ConflictError, match="X-Request-ID"):
        jobs.start(Job("infer", id="a"), gate.wait)
    jobs.start(Job("infer", id="b"), gate.wait)
    with pytest.raises(BusyError):
        jobs.start(Job("infer", id="c"), gate.wait)
    gate.set()
    while not first.over:
        time.sleep(0.01)
    with pytest.raises(CancelledError):
        jobs.run(stopped := Job("infer"), lambda: (stopped.cancel("x"), stopped.check()))


def test_steps_do_not_count_the_wait() -> None:
    jobs, order = Jobs(), []

    def batch() -> None:
        job = current_job()
        with job.step("infer"):
            slow(job, order, "batch", "f", 10)

    started = jobs.start(Job("scoring", urgency=Urgency.BATCH), batch)
    while not order:
        time.sleep(0.005)
    jobs.run(Job("infer"), lambda: slow(current_job(), order, "click", "f", 60))
    while not started.over:
        time.sleep(0.01)
    assert started.steps[0].seconds < (started.ended - started.started) / 2
