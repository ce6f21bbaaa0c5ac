"""Training as a job: a process of its own, as MONAI Label's contract wants it, watched, and ended when it is to stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from minivess.errors import InputError, MinivessError
from minivess.jobs import Job, current_job

_LOOK_S = 0.25
_PATIENCE_S = 20.0  # that it may stand still more than it has run
#: Let the system end the process when the thread that started it ends, as it does when the server is killed (Linux).
_DIES_WITH_US = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_LINES = 20  # of its output that are kept, as many as MONAI Label keeps


def train_in_process(
    request: dict[str, Any], stats: Callable[[], dict[str, Any]], *, somebody_waits: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Run MONAI Label's training command for a request and wait for its end; one at a time.

    The process is nice to others, and stands still while somebody waits for a click, up to half of its time.

    Args:
        request: What the trainer gets, ``model`` among it.
        stats: Tells how far the training is, as in ``train_stats`` of ``/info/``.
        somebody_waits: Tells whether an inference is under way.

    Returns:
        The last of these numbers.

    Raises:
        InputError: When the training was refused, for example without a label.
        MinivessError: When it failed; its last line says why.
        CancelledError: When somebody has stopped it; the process has ended then.
    """
    job = current_job()
    with job.turn("training"):
        began = int(time.time())
        command = [
            sys.executable,
            "-c",
            _DIES_WITH_US,
            "-m",
            "monailabel.interfaces.utils.app",
            "-m",
            "train",
            "-r",
            json.dumps(request),
        ]
        environment = {**os.environ, "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}  # the server scores by itself, when it is done
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
            start_new_session=True,
        )  # fmt: skip
        lines: deque[str] = deque(maxlen=_LINES)
        reader = threading.Thread(target=_read, args=(process, lines, job), daemon=True)
        reader.start()
        try:
            os.setpriority(os.PRIO_PGRP, process.pid, 10)
            pause = _Pause(process.pid)
            while process.poll() is None:
                share, said = _progress(stats(), began)
                job.progress(share, said)
                pause.look(share > 0 and somebody_waits())  # before its first epoch it may hold a lock of the store
                time.sleep(_LOOK_S)
        finally:
            _end(process)
            reader.join(5)
        if process.returncode != 0:
            raise _failure(list(lines), process.returncode)
        return stats()


class _Pause:
    """Lets a process group stand still: two that compute on the same cores take four times as long as one after the other."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.still = False
        self.seconds = {False: 0.0, True: 0.0}  # spent running, and standing still
        self.since = time.monotonic()

    def look(self, somebody_waits: bool) -> None:
        """Stop it or let it go on."""
        now = time.monotonic()
        self.seconds[self.still] += now - self.since
        self.since = now
        wanted = somebody_waits and self.seconds[True] <= self.seconds[False] + _PATIENCE_S
        if wanted != self.still:
            self.still = wanted
            os.killpg(self.group, signal.SIGSTOP if wanted else signal.SIGCONT)


def _failure(lines: list[str], status: int) -> MinivessError:
    """Say why it failed: in its own words, where it has refused something."""
    last = next((line for line in reversed(lines) if line.strip()), f"exit status {status}")
    refused = re.match(r"minivess\.errors\.\w+: (.*)", last)
    if refused:
        return InputError(f"The training was refused. {refused[1][:600]}")
    return MinivessError(f"The training failed: {last[-400:]}")


def _read(process: subprocess.Popen[str], lines: deque[str], job: Job) -> None:
    assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
    for line in process.stdout:
        lines.append(line.rstrip())
        job.change(details=list(lines))


def _progress(stats: dict[str, Any], began: int) -> tuple[float, str]:
    epochs = stats.get("epochs")
    if stats.get("start_ts", 0) < began or not epochs:  # of the training before, or none yet
        return 0.0, "starts"
    epoch = stats.get("epoch", 0)
    return min(0.99, epoch / epochs), f"epoch {epoch} of {epochs}"


def _end(process: subprocess.Popen[str]) -> None:
    """End it with everything it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            os.killpg(process.pid, signal.SIGCONT)  # one that stands still would not hear it
            process.wait(5)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            continue
