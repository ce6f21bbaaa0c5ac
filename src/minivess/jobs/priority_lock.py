"""Named priority locks: one holder each; clicks go before batches, equal ones first in, first out."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from enum import IntEnum

_POLL_S = 0.1  # how often a waiter checks whether it must stop


class Urgency(IntEnum):
    """Order in which waiting jobs get a priority lock: a user waits for a click, nobody waits for a batch."""

    CLICK = 0
    BATCH = 1


class PriorityLock:
    """A lock that is granted to the most urgent waiter, and among equal ones to the first."""

    def __init__(self) -> None:
        """Initialise a lock without a holder."""
        self._condition = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()
        self._holder: object | None = None

    def acquire(self, who: object, urgency: Urgency, check: Callable[[], None]) -> float:
        """Wait for the lock and acquire it.

        Args:
            who: The new holder, compared by identity.
            urgency: Urgency of the waiter.
            check: Called during the wait; it raises when the waiter must stop.

        Returns:
            Seconds waited.
        """
        start, ticket = time.monotonic(), (urgency, next(self._numbers))
        with self._condition:
            self._waiting.append(ticket)
            try:
                while self._holder is not None or min(self._waiting) != ticket:
                    self._condition.wait(_POLL_S)
                    check()
                self._holder = who
            finally:
                self._waiting.remove(ticket)
                self._condition.notify_all()
        return time.monotonic() - start

    def release(self, who: object) -> None:
        """Release the lock; no effect when ``who`` is not its holder."""
        with self._condition:
            if self._holder is who:
                self._holder = None
                self._condition.notify_all()

    def yield_to_more_urgent(self, who: object, urgency: Urgency, check: Callable[[], None]) -> float:
        """Release the lock to more urgent waiters, if there are any, and acquire it again after them.

        Args:
            who: The holder, compared by identity.
            urgency: Urgency of the holder.
            check: Called during the wait; it raises when the holder must stop, and the lock stays released.

        Returns:
            Seconds waited.
        """
        with self._condition:
            if not self._waiting or min(self._waiting)[0] >= urgency:
                return 0.0
        self.release(who)
        return self.acquire(who, urgency, check)


_all: dict[str, PriorityLock] = {}
_all_lock = threading.Lock()


def priority_lock(name: str) -> PriorityLock:
    """Return the lock of this name in this process."""
    with _all_lock:
        return _all.setdefault(name, PriorityLock())
