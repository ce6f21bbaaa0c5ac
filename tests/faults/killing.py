"""Kill -9 at the n-th write: a forked child counts what it asks of the disk, and kills itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


def killed_at(point: int, work: Callable[[Callable[[str], None]], None]) -> tuple[bool, list[str]]:
    """Run ``work`` in a forked child and kill it at its ``point``-th write point.

    ``work`` gets a function that tells the parent what was acknowledged: what the child has said is said, also when it dies.

    Returns:
        Whether the child was killed (false: it had fewer write points and ended), and what it said.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _count_down(point)
            work(lambda text: _say(writer, text))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 (the child says what it was and ends)
            _say(writer, f"error {error!r}")
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read().splitlines()
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, said
    return os.WIFSIGNALED(status), said


def _say(descriptor: int, text: str) -> None:
    os.write(descriptor, f"{text}\n".encode())


def _count_down(point: int) -> None:
    left = point

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(lambda event, _: step() if event in _EVENTS else None)
    real_fsync, real_connect = os.fsync, sqlite3.connect

    def fsync(descriptor: int) -> None:
        step()
        real_fsync(descriptor)
        step()

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = real_connect(*arguments, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(step)  # before each statement, COMMIT among them
        return connection

    os.fsync, sqlite3.connect = fsync, connect  # type: ignore[assignment]
