"""List jobs, follow them and stop them: ``/jobs/``."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from minivess.jobs import Job
from minivess.server.accounts import Account
from minivess.server.dependencies import CurrentAccount, RunningJobs
from minivess.server.error_responses import without_folders
from minivess.server.roles import requires

router = APIRouter(prefix="/jobs", tags=["Jobs"])
_POLL_S = 0.1
_KEEP_ALIVE_S = 15.0  # an event is sent at least that often, so that proxies keep the connection open
_WAIT_FOR_JOB_S = 5.0
#: Event streams that are open at the same time.
STREAMS, STREAMS_PER_USER = 100, 20
_streams: Counter[str] = Counter()
JobKind = Literal["infer", "batch_infer", "scoring", "ranking", "train", "prompt"]


@router.get("/", summary="List jobs", dependencies=[requires("reader")])
async def list_jobs(
    jobs: RunningJobs, kind: Annotated[JobKind | None, Query()] = None, running: bool = False
) -> list[dict[str, Any]]:
    """List jobs, the oldest first: all that are remembered, or those that are not over."""
    return [job_json(job) for job in (jobs.open(kind) if running else jobs.all(kind))]


@router.get("/{job_id}", summary="Progress of a job", dependencies=[requires("reader")])
async def get_job(job_id: str, jobs: RunningJobs) -> dict[str, Any]:
    """Return state and progress of a job."""
    return job_json(jobs.get(job_id))


@router.delete("/{job_id}", summary="Stop a job", dependencies=[requires("annotator")])
async def stop_job(job_id: str, account: CurrentAccount, jobs: RunningJobs) -> dict[str, Any]:
    """Stop one's own job, or with the role reviewer any job. It ends at its next step, usually within a second."""
    job = jobs.get(job_id)
    check_may_stop(account, job)
    job.cancel(account.name)
    return job_json(job)


def check_may_stop(account: Account, job: Job) -> None:
    """Check that a user may stop a job.

    Args:
        account: The user.
        job: The job.

    Raises:
        HTTPException: 403 where it is another user's, and the role does not allow it.
    """
    if job.actor != account.name and not account.has_role("reviewer"):
        raise HTTPException(403, "This job was started by another user. Stopping it needs the role reviewer.")


def job_json(job: Job) -> dict[str, Any]:
    """Return a job for clients, without folders of the server."""
    content = job.to_json()
    return {**content, "message": without_folders(content["message"])}


async def _expected_job(job_id: str, jobs: RunningJobs) -> Job:
    """Return a job; wait for one that does not exist yet, so that a client may listen before it sends the request."""
    until = time.monotonic() + _WAIT_FOR_JOB_S
    while time.monotonic() < until and all(job.id != job_id for job in jobs.all()):
        await asyncio.sleep(_POLL_S)
    return jobs.get(job_id)


async def _stream_slot(account: CurrentAccount) -> AsyncIterator[None]:
    """Count the streams of a user and of all; refuse more than are useful."""
    if _streams[account.name] >= STREAMS_PER_USER or _streams.total() >= STREAMS:
        raise HTTPException(429, f"At most {STREAMS_PER_USER} event streams per user and {STREAMS} in all. Close one first.")
    _streams[account.name] += 1
    try:
        yield
    finally:
        _streams[account.name] -= 1


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    summary="Follow a job by server-sent events",
    dependencies=[requires("reader"), Depends(_stream_slot)],
)
async def events(job: Annotated[Job, Depends(_expected_job)]) -> AsyncIterator[ServerSentEvent]:
    """Send an event ``progress`` with each change of a job, and one named by its last state when it is over.

    The id of an inference job is the X-Request-ID of its request, which the client may choose.
    """
    sent, silent_s = -1, 0.0
    while True:
        if job.changes != sent or silent_s >= _KEEP_ALIVE_S:
            sent, silent_s, over = job.changes, 0.0, job.over
            yield ServerSentEvent(data=job_json(job), event=job.state if over else "progress", id=str(sent))
            if over:
                return
        await asyncio.sleep(_POLL_S)
        silent_s += _POLL_S
