"""Jobs: order by urgency, cancellation, time limits, and what clients see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from waiting import wait_until

from minivess.errors import BusyError, CancelledError, ConflictError, DeadlineError, InputError, NotFoundError, UsageError
from minivess.jobs import Job, Jobs, Urgency, current_job
from minivess.jobs.priority_lock import priority_lock


def wait_for(*jobs: Job) -> None:
    wait_until(lambda: all(job.over for job in jobs), f"the end of {[job.kind for job in jobs]}")


def waiting(lock: str, count: int) -> Callable[[], bool]:
    return lambda: len(priority_lock(lock)._waiting) == count


def work_with_lock(order: list[str], name: str, lock: str, steps: int = 20) -> None:
    """Append the name at every step, with the lock; a step is a point where the job may be cancelled or yield."""
    job = current_job()
    with job.hold_lock(lock):
        for step in range(steps):
            order.append(name)
            time.sleep(0.01)
            job.progress(step / steps)


def test_hold_lock__a_click_goes_before_a_running_batch() -> None:
    jobs, order = Jobs(), []
    batch = jobs.start(Job("scoring", urgency=Urgency.BATCH), lambda: work_with_lock(order, "batch", "a"))
    wait_until(lambda: bool(order), "the first step of the batch")
    jobs.run(Job("infer"), lambda: work_with_lock(order, "click", "a"))
    assert not batch.over
    wait_for(batch)
    assert batch.state == "done"
    first, last = order.index("click"), len(order) - 1 - order[::-1].index("click")
    assert first > 0
    assert last < len(order) - 1
    assert set(order[first : last + 1]) == {"click"}  # no step of the batch in between


def test_hold_lock__equally_urgent_jobs_go_in_order_of_arrival() -> None:
    jobs, order, started = Jobs(), [], []
    with Job("infer").hold_lock("b"):  # so that all of them wait
        for count, name in enumerate("abc", start=1):
            started.append(jobs.start(Job("infer"), lambda name=name: work_with_lock(order, name, "b", 5)))
            wait_until(waiting("b", count), f"{count} waiting jobs")
    wait_for(*started)
    assert order == ["a"] * 5 + ["b"] * 5 + ["c"] * 5


def test_cancel__stops_a_running_and_a_waiting_job() -> None:
    jobs, order = Jobs(), []
    running = jobs.start(Job("infer"), lambda: work_with_lock(order, "running", "c", 10_000))
    wait_until(lambda: bool(order), "the first step")
    queued = jobs.start(Job("infer"), lambda: work_with_lock(order, "queued", "c"))
    wait_until(waiting("c", 1), "a waiting job")
    assert queued.state == "queued"
    for job in (queued, running):
        job.cancel("b-reader")
        wait_for(job)
        assert job.state == "cancelled"
        assert "b-reader" in job.message
    assert set(order) == {"running"}
    jobs.run(Job("infer"), lambda: work_with_lock(order, "next", "c", 1))  # the lock is free again
    assert order[-1] == "next"


def test_cancel__of_a_job_that_yields_its_lock_does_not_release_the_lock_of_others() -> None:
    jobs, order, finish = Jobs(), [], threading.Event()

    def click() -> None:
        with current_job().hold_lock("d"):
            order.append("click")
            assert finish.wait(60)
            order.append("click")

    batch = jobs.start(Job("scoring", urgency=Urgency.BATCH), lambda: work_with_lock(order, "batch", "d", 10_000))
    wait_until(lambda: bool(order), "the first step of the batch")
    clicked = jobs.start(Job("infer"), click)
    wait_until(lambda: "click" in order, "the click")
    batch.cancel("x")
    wait_for(batch)
    other = jobs.start(Job("infer"), lambda: work_with_lock(order, "other", "d", 3))
    wait_until(waiting("d", 1), "the other job waits, because the click still has the lock")
    finish.set()
    wait_for(clicked, other)
    assert order[order.index("click") :] == ["click", "click", "other", "other", "other"]


def test_enter__one_person_leaves_half_of_the_places_to_others() -> None:
    jobs, gate = Jobs(at_once=4), threading.Event()
    mine = [jobs.start(Job("batch_infer", actor="eve"), gate.wait) for _ in range(2)]
    with pytest.raises(BusyError, match="2 of your jobs"):
        jobs.start(Job("batch_infer", actor="eve"), gate.wait)
    other = jobs.start(Job("infer", actor="ann"), gate.wait)
    gate.set()
    wait_for(*mine, other)


def test_timeout__counts_from_the_request_also_while_waiting() -> None:
    jobs = Jobs()
    with Job("infer").hold_lock("e"), pytest.raises(DeadlineError, match=r"0\.1 s"):
        jobs.run(Job("infer", timeout_s=0.1), lambda: work_with_lock([], "", "e"))
    assert [job.state for job in jobs.all()] == ["failed"]


@pytest.mark.row(129)
def test_timeout__is_looked_at_before_every_step() -> None:
    job = Job("infer", timeout_s=0.05)
    time.sleep(0.1)
    with pytest.raises(DeadlineError), job.step("write"):
        pytest.fail("the step began after the deadline")


@pytest.mark.parametrize("timeout", [0, -1, 1e7, "5", float("nan")])
def test_from_request__refuses_a_timeout_that_is_not_a_number_above_0(timeout: object) -> None:
    with pytest.raises(UsageError, match="timeout must be a number of seconds above 0"):
        Job.from_request("infer", "m", {"timeout": timeout}, urgency=Urgency.CLICK, actor="ann")


def test_from_request__reads_the_timeout() -> None:
    job = Job.from_request("infer", "m", {"timeout": 5}, urgency=Urgency.BATCH, actor="ann", id="x")
    assert (job.kind, job.subject, job.timeout_s, job.actor, job.id, job.request) == ("infer", "m", 5, "ann", "x", {"timeout": 5})
    assert Job.from_request("infer", "m", {}, urgency=Urgency.CLICK, actor="ann").id


def test_jobs__lists_the_last_ended_jobs_of_each_kind() -> None:
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
    wait_for(jobs.get("r"))
    assert jobs.get("r").to_json()["result"] == {"mean": 1}


def test_jobs__refuses_too_many_jobs_and_an_open_id() -> None:
    jobs, gate = Jobs(at_once=2), threading.Event()
    first = jobs.start(Job("infer", id="a"), lambda: gate.wait(60))
    with pytest.raises(ConflictError, match="X-Request-ID"):
        jobs.start(Job("infer", id="a"), gate.wait)
    second = jobs.start(Job("infer", id="b"), lambda: gate.wait(60))
    with pytest.raises(BusyError, match="2 jobs are running or waiting"):
        jobs.start(Job("infer", id="c"), gate.wait)
    assert jobs.open() == [first, second]
    gate.set()
    wait_for(first, second)
    assert jobs.open() == []
    with pytest.raises(CancelledError):
        jobs.run(stopped := Job("infer"), lambda: (stopped.cancel("x"), stopped.check()))
    jobs.closing = True
    with pytest.raises(BusyError, match="stopping"):
        jobs.start(Job("infer"), gate.wait)


def test_parts__progress_of_a_part_counts_for_that_part() -> None:
    job, shares, messages = Job("scoring"), [], []
    for _ in job.parts("xy", "case"):
        job.progress(0.5)
        shares.append(job.share)
        messages.append(job.message)
    assert shares == [0.25, 0.75]
    assert messages == ["case 1 of 2", "case 2 of 2"]
    job.progress(0.1)
    assert job.share == 0.75  # it never decreases


def test_step__does_not_count_the_time_waiting_for_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now_s[0], time=time.time, time_ns=time.time_ns)
    monkeypatch.setattr("minivess.jobs.job.time", clock)

    def wait(seconds: float) -> float:
        now_s[0] += seconds
        return seconds

    lock = priority_lock("f")
    monkeypatch.setattr(lock, "acquire", lambda *_: wait(60.0))
    monkeypatch.setattr(lock, "yield_to_more_urgent", lambda *_: wait(30.0))
    job = Job("scoring", urgency=Urgency.BATCH)
    with job.step("infer"):
        now_s[0] += 1.0
        with job.hold_lock("f"):
            now_s[0] += 2.0
            job.progress(0.5)
    assert job.to_json()["steps"] == {"infer": 3.0}
