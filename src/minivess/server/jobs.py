"""See jobs, follow them and stop them: ``/jobs/``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from monailabel.interfaces.utils.app import app_instance
from starlette.exceptions import HTTPException

from minivess.jobs import Job, Jobs
from minivess.server.people import Person

router = APIRouter(prefix="/jobs", tags=["Jobs"])
_LOOK_S = 0.1
_ALIVE_S = 15.0  # an event is sent at least that often, so that proxies keep the connection
_EXPECTED_S = 5.0
_Kind = Literal["infer", "batch_infer", "scoring", "ranking", "train"]


@router.get("/", summary="Which jobs are there")
async def all_jobs(kind: Annotated[_Kind | None, Query()] = None, running: bool = False) -> list[dict[str, Any]]:
    """List jobs, the oldest first: all that are remembered, or those that are not over."""
    return [job.to_json() for job in (_jobs().open(kind) if running else _jobs().all(kind))]


@router.get("/{job_id}", summary="How far a job is")
async def one_job(job_id: str) -> dict[str, Any]:
    """Tell of one job."""
    return _jobs().get(job_id).to_json()


@router.delete("/{job_id}", summary="Stop a job")
async def stop_job(job_id: str, request: Request) -> dict[str, Any]:
    """Stop a job: one's own, or with the role reviewer anybody's. It ends at its next step, within a second as a rule."""
    job, person = _jobs().get(job_id), _person(request)
    if job.actor != person.name and not person.may("reviewer"):
        raise HTTPException(403, "This job is somebody else's. Stopping it needs the role reviewer.")
    job.cancel(person.name)
    return job.to_json()


async def _expected(job_id: str) -> Job:
    """Find a job; one that does not exist yet is waited for, so that a client may listen before it asks."""
    until = time.monotonic() + _EXPECTED_S
    while time.monotonic() < until and all(job.id != job_id for job in _jobs().all()):
        await asyncio.sleep(_LOOK_S)
    return _jobs().get(job_id)


@router.get("/{job_id}/events", response_class=EventSourceResponse, summary="Follow a job: server-sent events")
async def events(job: Annotated[Job, Depends(_expected)]) -> AsyncIterator[ServerSentEvent]:
    """Send an event ``progress`` with each change of a job, and one named by its last state when it is over.

    The job of an inference has the X-Request-ID of its request, which the client may choose.
    """
    seen, silent_s = -1, 0.0
    while True:
        if job.changes != seen or silent_s >= _ALIVE_S:
            seen, silent_s, over = job.changes, 0.0, job.over
            yield ServerSentEvent(data=job.to_json(), event=job.state if over else "progress", id=str(seen))
            if over:
                return
        await asyncio.sleep(_LOOK_S)
        silent_s += _LOOK_S


def _jobs() -> Jobs:
    jobs: Jobs = app_instance().jobs
    return jobs


def _person(request: Request) -> Person:
    person: Person = request.scope["minivess.person"]
    return person
