"""The work of the application in a child process, which can be ended at once whatever it computes."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from minivess.errors import MinivessError, without_message

#: Exit codes: done, refused with a reason, wrong usage (argparse), internal fault; 128 + signal when stopped.
DONE, REFUSED, FAULT, STOPPED = 0, 1, 3, 128
#: A child that has used no processor for so long is dead: a network drive that is gone, a GPU that does not answer.
IDLE_LIMIT_S = 1800.0
_LOOK_S = 10.0
_PR_SET_PDEATHSIG = 1
#: Signals that end the work.
_STOPS: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)


class StoppedError(Exception):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        """Store the signal."""
        super().__init__(signal.Signals(number).name)
        self.number = number


class FailedError(Exception):
    """The child ended without a result, and has said why."""

    def __init__(self, code: int) -> None:
        """Store the exit code."""
        super().__init__(code)
        self.code = code


def note_signals() -> int:
    """Note signals from now on in a pipe, and return its end to read: each is a byte, its number.

    An error that a handler raises is lost where Python runs a hook of its own, as ``os.fork`` does.
    """
    noted, to_note = os.pipe()
    os.set_blocking(to_note, False)
    signal.set_wakeup_fd(to_note)
    for number in (*_STOPS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # also after the result is complete: a stop must not say that nothing was written
    return noted


def run_in_child(work: Callable[[], None], noted: int) -> None:
    """Do the work in a child process, which can be ended at once whatever it computes.

    Args:
        work: The work.
        noted: Where signals are read, see :func:`note_signals`.

    Raises:
        FailedError: When the child ended without a result.
        StoppedError: When SIGTERM or SIGINT came before it ended.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(_work(work, parent))
    active = _Activity(child)
    while (came := _next_signal(noted)) not in _STOPS:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return _check_code(os.waitstatus_to_exitcode(status))
        if active.is_idle():
            print(f"The segmentation did nothing for {IDLE_LIMIT_S:g} s and was ended. Nothing was written.", file=sys.stderr)
            _end(child)
            raise FailedError(FAULT)
    _end(child)
    raise StoppedError(came)


def _next_signal(noted: int) -> int:
    """Return the next signal that was noted; 0 when there was none for a while."""
    ready, _, _ = select.select([noted], [], [], min(_LOOK_S, IDLE_LIMIT_S))
    return os.read(noted, 1)[0] if ready else 0


def _end(child: int) -> None:
    """End the child; one that waits for a device in the kernel may not end: it is left to the system."""
    os.kill(child, signal.SIGKILL)
    until = time.monotonic() + _LOOK_S
    while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < until:
        time.sleep(0.005)


class _Activity:
    """When a process has last used the processor. A paused one is not looked at."""

    def __init__(self, pid: int) -> None:
        self._file = Path(f"/proc/{pid}/stat")
        self._used, self._since = self._ticks(), time.monotonic()

    def is_idle(self) -> bool:
        """Return whether it has used none for the limit."""
        used = self._ticks()
        if used is None or used != self._used:
            self._used, self._since = used, time.monotonic()
        return time.monotonic() - self._since >= IDLE_LIMIT_S

    def _ticks(self) -> int | None:
        """Return user and system time, of all threads; None of a paused or an ended process."""
        try:
            state, *fields = self._file.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "TtZ" else int(fields[10]) + int(fields[11])


def _check_code(code: int) -> None:
    """Raise FailedError unless the child ended with a result."""
    if code < 0:
        name = signal.Signals(-code).name
        print(f"The segmentation was ended by {name}; out of memory is the usual reason. Nothing was written.", file=sys.stderr)
        raise FailedError(FAULT)
    if code != DONE:
        raise FailedError(code)


def _work(work: Callable[[], None], parent: int) -> int:
    """Do the work in the child, and return its exit code; it does not outlive its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return FAULT
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    try:
        work()
    except MinivessError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"OutputError: {error.strerror or type(error).__name__}: {error.filename or 'the output'}", file=sys.stderr)
        return REFUSED
    except BaseException as error:  # noqa: BLE001 (the outermost level: a fault becomes exit code 3)
        print(without_message(error), file=sys.stderr)
        return FAULT
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return DONE
