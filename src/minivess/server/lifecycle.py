"""What happens when the server starts and stops."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from monailabel.interfaces.utils.app import app_instance

from minivess.jobs import Jobs
from minivess.server.logs import set_up_logs
from minivess.telemetry import Telemetry

_Counts = dict[tuple[tuple[str, str], ...], float]
_STOP_S = 12.0  # that the end waits for jobs which have been stopped


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """Load the label app and give it jobs; at the end stop them, so that no training is left behind."""
    set_up_logs()
    instance, jobs = app_instance(), Jobs()
    telemetry: Telemetry = api.state.telemetry
    jobs.on_end.append(telemetry.job_ended)
    telemetry.watch("minivess.jobs", "Jobs that wait or run", lambda: _open_jobs(jobs))
    telemetry.watch("minivess.images", "Images, and those with a final label", lambda: _images(instance.datastore()))
    instance.jobs = jobs
    _stop_jobs_on_signal(jobs)
    instance.server_mode(True)
    instance.on_init_complete()
    yield
    _stop(jobs)
    until = time.monotonic() + _STOP_S
    while jobs.open() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    telemetry.close()


def _open_jobs(jobs: Jobs) -> _Counts:
    return {key: float(n) for key, n in Counter((("kind", job.kind), ("state", job.state)) for job in jobs.open()).items()}


def _images(datastore: Any) -> _Counts:
    status = datastore.status()
    return {(("state", "all"),): float(status["total"]), (("state", "labelled"),): float(status["completed"])}


def _stop(jobs: Jobs) -> None:
    jobs.closing = True
    for job in jobs.open():
        job.cancel("the server, which stops")


def _stop_jobs_on_signal(jobs: Jobs) -> None:
    """Stop jobs first when the server is told to stop: uvicorn would wait for whoever waits for them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        uvicorns = signal.getsignal(number)

        def stop(received: int, frame: Any, uvicorns: Any = uvicorns) -> None:
            _stop(jobs)
            if callable(uvicorns):
                uvicorns(received, frame)

        signal.signal(number, stop)

    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the terminal was closed
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
