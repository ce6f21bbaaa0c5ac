"""SIGTERM and SIGINT for commands that run an application: noted, and looked at where nothing is half done.

An error raised by a signal's handler can come between the start of a process and the line that knows it, and then nobody ends it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from minivess.errors import MinivessError

_STOPS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(MinivessError):
    """A signal asked the process to end."""

    def __init__(self, number: int, message: str) -> None:
        """Store the exit code of the command, 128 + signal.

        Args:
            number: The signal.
            message: What it leaves.
        """
        super().__init__(f"Stopped by {signal.Signals(number).name}. {message}")
        self.exit_code = 128 + number


class StopSignals:
    """What signal asked the process to end, if any."""

    def __init__(self) -> None:
        """Begin without one."""
        self._number: int | None = None

    @property
    def came(self) -> bool:
        """Return whether a signal came."""
        return self._number is not None

    def note(self, number: int) -> None:
        """Store a signal."""
        self._number = number

    def check(self, message: str) -> None:
        """Raise StoppedError when a signal came.

        Args:
            message: What it leaves.
        """
        if self._number is not None:
            raise StoppedError(self._number, message)


@contextmanager
def noted_stop_signals() -> Iterator[StopSignals]:
    """Note SIGTERM and SIGINT within the block, which runs in the main thread.

    Yields:
        What to look at.
    """
    signals = StopSignals()
    before = {number: signal.signal(number, lambda got, _: signals.note(got)) for number in _STOPS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
