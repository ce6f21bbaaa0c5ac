"""Run a training as a job, in a process of its own as MONAI Label does; it is followed, paused and stopped."""

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

_POLL_S = 0.25
_MAX_PAUSE_S = 20.0  # that it may be paused longer than it has run
#: MONAI Label's command. The system ends it when the thread that started it ends, for example when the server is killed (Linux).
_MONAI_LABEL = (
    "import ctypes, runpy, signal; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "from minivess.process_setup import prepare_process; prepare_process(); "
    "runpy.run_module('monailabel.interfaces.utils.app', run_name='__main__', alter_sys=True)"
)
_LINES = 20  # last lines of its output, as many as MONAI Label returns


def train_in_process(
    request: dict[str, Any], stats: Callable[[], dict[str, Any]], *, should_pause: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Run MONAI Label's training command for a request and wait for its end; one at a time.

    The process has a low priority, and is paused while an inference is running, up to half of its time.

    Args:
        request: Request of the trainer, with ``model``.
        stats: Returns the progress of the training, as in ``train_stats`` of ``/info/``.
        should_pause: Returns whether an inference is running.

    Returns:
        The last progress.

    Raises:
        InputError: When the training was refused, for example without a label.
        MinivessError: When it failed; the message has its last line.
        CancelledError: When it was cancelled; the process has ended then.
    """
    job = current_job()
    with job.hold_lock("training"):
        began = int(time.time())
        command = [sys.executable, "-c", _MONAI_LABEL, "-m", "train", "-r", json.dumps(request)]
        environment = {**os.environ, "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}  # the server scores afterwards
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
                share, message = _progress(stats(), began)
                job.progress(share, message)
                pause.update(share > 0 and should_pause())  # before its first epoch it may hold a lock of the store
                time.sleep(_POLL_S)
        finally:
            _end(process)
            reader.join(5)
        if process.returncode != 0:
            raise _failure(list(lines), process.returncode)
        return stats()


class _Pause:
    """Pause a process group: two that compute on the same cores take four times as long as one after the other."""

    def __init__(self, group: int) -> None:
        self.group = group
        self.paused = False
        self.seconds = {False: 0.0, True: 0.0}  # spent running, and paused
        self.since = time.monotonic()

    def update(self, wanted: bool) -> None:
        """Pause or continue the group."""
        now = time.monotonic()
        self.seconds[self.paused] += now - self.since
        self.since = now
        pause = wanted and self.seconds[True] <= self.seconds[False] + _MAX_PAUSE_S
        if pause != self.paused:
            self.paused = pause
            os.killpg(self.group, signal.SIGSTOP if pause else signal.SIGCONT)


def _failure(lines: list[str], status: int) -> MinivessError:
    """Return why it failed, with its own message when it refused the data."""
    last = next((line for line in reversed(lines) if line.strip()), f"exit status {status}")
    refused = re.match(r"minivess\.errors\.\w+: (.*)", last)
    if refused:
        return InputError(f"The training was refused. {refused[1][:600]}")
    return MinivessError(f"The training failed: {last[-400:]}")


def _read(process: subprocess.Popen[str], lines: deque[str], job: Job) -> None:
    assert process.stdout is not None  # noqa: S101 (stdout is a pipe)
    for line in process.stdout:
        lines.append(line.rstrip())
        job.change(details=list(lines))


def _progress(stats: dict[str, Any], began: int) -> tuple[float, str]:
    epochs = stats.get("epochs")
    if stats.get("start_ts", 0) < began or not epochs:  # of the previous training, or none yet
        return 0.0, "starting"
    epoch = stats.get("epoch", 0)
    return min(0.99, epoch / epochs), f"epoch {epoch} of {epochs}"


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            os.killpg(process.pid, signal.SIGCONT)  # a paused process would not get the signal
            process.wait(2)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            continue
