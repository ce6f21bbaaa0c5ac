"""Run the work of a request as a job: listed, followed and stopped like others, and cancelled when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from minivess.jobs import Job
from minivess.server.label_app import running_jobs

Result = TypeVar("Result")
_waiting = CapacityLimiter(128)  # threads of requests that wait for a job, apart from those of quick requests
_POLL_S = 0.3


async def run_for_client(request: Request, job: Job, work: Callable[[], Result]) -> Result:
    """Run a job in a thread of its own, and wait for its end.

    Args:
        request: The request that waits.
        job: The job.
        work: Its work.

    Returns:
        What ``work`` returns.

    Raises:
        BusyError: When too many jobs are open.
        CancelledError: When the job was cancelled, or the client has disconnected.
        DeadlineError: When the job exceeded its time limit.
    """
    watcher = asyncio.create_task(_cancel_on_disconnect(request, job))
    try:
        return await to_thread.run_sync(lambda: running_jobs().run(job, work), limiter=_waiting)
    finally:
        watcher.cancel()


async def _cancel_on_disconnect(request: Request, job: Job) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(_POLL_S)
    job.cancel("its client, which has disconnected")
