from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from minivess.jobs.priority_lock import PriorityLock, priority_lock

#: Longest wait for another thread; reached only when a test fails.
DEADLINE_S = 30.0
CLICK, BATCH = 0, 1


def never_stops() -> None:
    """The check of one that waits and is not to stop."""


class Waiter:
    """Acquires a lock in a thread of its own; the lock calls ``check`` while it waits."""

    def __init__(self, lock: PriorityLock, name: str, urgency: int, order: list[str]) -> None:
        self.waits, self.waited_s = threading.Event(), 0.0
        self.arguments = lock, name, urgency, order
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        assert self.waits.wait(DEADLINE_S)

    def run(self) -> None:
        lock, name, urgency, order = self.arguments
        self.waited_s = lock.acquire(name, urgency, self.waits.set)
        order.append(name)
        lock.release(name)

    def join(self) -> None:
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


def test_acquire__a_free_lock_is_acquired_at_once() -> None:
    lock = PriorityLock()
    assert lock.acquire("a", BATCH, pytest.fail) < DEADLINE_S
    lock.release("a")
    lock.acquire("b", BATCH, pytest.fail)


def test_acquire__the_most_urgent_goes_first_and_equals_in_their_order() -> None:
    lock, order = PriorityLock(), []
    lock.acquire("holder", BATCH, never_stops)
    waiters = [
        Waiter(lock, name, urgency, order)
        for name, urgency in (("batch 1", BATCH), ("batch 2", BATCH), ("click 1", CLICK), ("click 2", CLICK))
    ]
    assert order == []
    lock.release("holder")
    for waiter in waiters:
        waiter.join()
    assert order == ["click 1", "click 2", "batch 1", "batch 2"]
    assert all(waiter.waited_s > 0 for waiter in waiters)


def test_release__by_one_who_does_not_hold_the_lock_has_no_effect() -> None:
    lock, order = PriorityLock(), []
    lock.acquire("holder", BATCH, never_stops)
    waiter = Waiter(lock, "other", CLICK, order)
    lock.release("other")
    waiter.waits.clear()
    assert waiter.waits.wait(DEADLINE_S)  # it still waits
    assert order == []
    lock.release("holder")
    waiter.join()
    assert order == ["other"]


def test_acquire__one_that_stops_while_it_waits_leaves_the_queue() -> None:
    def stops() -> None:
        raise TimeoutError

    lock, order = PriorityLock(), []
    lock.acquire("holder", BATCH, never_stops)
    with pytest.raises(TimeoutError):
        lock.acquire("stopped", CLICK, stops)
    waiter = Waiter(lock, "batch", BATCH, order)
    lock.release("holder")
    waiter.join()
    assert order == ["batch"]


@pytest.mark.parametrize("waiting", [None, BATCH])
def test_yield_to_more_urgent__keeps_the_lock_when_nobody_more_urgent_waits(waiting: int | None) -> None:
    lock, order = PriorityLock(), []
    lock.acquire("holder", BATCH, never_stops)
    waiters = [] if waiting is None else [Waiter(lock, "other", waiting, order)]
    assert lock.yield_to_more_urgent("holder", BATCH, never_stops) == 0.0
    assert order == []
    lock.release("holder")
    for waiter in waiters:
        waiter.join()


def test_yield_to_more_urgent__returns_with_the_lock_after_the_more_urgent() -> None:
    lock, order = PriorityLock(), []
    lock.acquire("holder", BATCH, never_stops)
    click = Waiter(lock, "click", CLICK, order)
    assert lock.yield_to_more_urgent("holder", BATCH, never_stops) > 0
    assert order == ["click"]
    equal = Waiter(lock, "batch", BATCH, order)  # waits: the holder has the lock again
    assert order == ["click"]
    lock.release("holder")
    for waiter in (click, equal):
        waiter.join()
    assert order == ["click", "batch"]


def test_priority_lock__is_one_for_each_name() -> None:
    first: Callable[[], PriorityLock] = lambda: priority_lock("test: first")  # noqa: E731
    assert first() is first()
    assert first() is not priority_lock("test: second")
