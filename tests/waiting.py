"""Wait for what another process or thread does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], what: Callable[[], object] | str = "", timeout_s: float = 400, poll_s: float = 0.05
) -> None:
    """Poll a condition until it holds.

    The limit ends a wait for something that never comes. It says nothing about speed: a machine may be ten times slower.

    Args:
        condition: Return true when the wait is over.
        what: Text for the failure; a function is asked for it then, so that it can report a state or a log.
        timeout_s: Seconds.
        poll_s: Seconds between two questions.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not in {timeout_s:g} s: {what() if callable(what) else what}")
        time.sleep(poll_s)


def listens(port: int) -> bool:
    """Return whether a process takes connections at this port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
