"""Places where one works at a time, the most urgent first: a device with one model in its memory, the training."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

_LOOK_S = 0.1  # how often one that waits looks whether it is to stop


class Turns:
    """A lock that is given to the most urgent of those who wait, and among equals to the first."""

    def __init__(self) -> None:
        """Begin with nobody inside."""
        self._condition = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()
        self._inside: object | None = None

    def take(self, who: object, urgency: int, check: Callable[[], None]) -> float:
        """Wait for the place, and take it.

        Args:
            who: Who will be inside.
            urgency: Lower goes first.
            check: Called while it waits; raises when it is to stop.

        Returns:
            Seconds waited.
        """
        start, ticket = time.monotonic(), (urgency, next(self._numbers))
        with self._condition:
            self._waiting.append(ticket)
            try:
                while self._inside is not None or min(self._waiting) != ticket:
                    self._condition.wait(_LOOK_S)
                    check()
                self._inside = who
            finally:
                self._waiting.remove(ticket)
                self._condition.notify_all()
        return time.monotonic() - start

    def leave(self, who: object) -> None:
        """Give the place back; nothing happens where somebody else is inside."""
        with self._condition:
            if self._inside is who:
                self._inside = None
                self._condition.notify_all()

    def give_way(self, who: object, urgency: int, check: Callable[[], None]) -> float:
        """Let those go first who are more urgent than the one inside, who comes back after them.

        Returns:
            Seconds waited.
        """
        with self._condition:
            if not self._waiting or min(self._waiting)[0] >= urgency:
                return 0.0
        self.leave(who)
        return self.take(who, urgency, check)


_all: dict[str, Turns] = {}
_all_lock = threading.Lock()


def turns_of(place: str) -> Turns:
    """Give the turns of a place of this process."""
    with _all_lock:
        return _all.setdefault(place, Turns())
