"""Start and stop of the server."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from minivess.jobs import Jobs
from minivess.server.label_app import LabelDatastore, label_app
from minivess.server.logs import set_up_logs
from minivess.telemetry import Telemetry

_Counts = dict[tuple[tuple[str, str], ...], float]
_STOP_S = 5.0  # time to wait for the jobs that were cancelled


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """Load the label app and create the jobs; at the end cancel them, so that no training continues."""
    set_up_logs()
    app, jobs = label_app(), Jobs()
    telemetry: Telemetry = api.state.telemetry
    jobs.on_end.append(telemetry.job_ended)
    telemetry.watch("minivess.jobs", "Jobs that are queued or running", lambda: _open_jobs(jobs))
    telemetry.watch("minivess.images", "Images, and those with a final label", lambda: _images(app.datastore()))
    app.jobs = jobs
    _stop_jobs_on_signal(jobs)
    app.server_mode(True)
    app.on_init_complete()
    yield
    _stop(jobs)
    until = time.monotonic() + _STOP_S
    while jobs.open() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    telemetry.close()


def _open_jobs(jobs: Jobs) -> _Counts:
    return {key: float(n) for key, n in Counter((("kind", job.kind), ("state", job.state)) for job in jobs.open()).items()}


def _images(datastore: LabelDatastore) -> _Counts:
    status = datastore.status()
    return {(("state", "all"),): float(status["total"]), (("state", "labelled"),): float(status["completed"])}


def _stop(jobs: Jobs) -> None:
    jobs.closing = True
    for job in jobs.open():
        job.cancel("the server, which is stopping")


def _stop_jobs_on_signal(jobs: Jobs) -> None:
    """Cancel jobs first when the server gets a signal: uvicorn would wait for the requests that wait for them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        uvicorn_handler = signal.getsignal(number)

        def stop(received: int, frame: Any, uvicorn_handler: Any = uvicorn_handler) -> None:
            _stop(jobs)
            if callable(uvicorn_handler):
                uvicorn_handler(received, frame)

        signal.signal(number, stop)

    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the terminal was closed
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
