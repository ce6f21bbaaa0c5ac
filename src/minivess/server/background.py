"""Training, scoring and batch inference under MONAI Label's addresses and in its form, run as our jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, HTTPException, Request
from monailabel.interfaces.utils.app import app_instance

from minivess.errors import NotFoundError
from minivess.jobs import Job, Jobs, Urgency
from minivess.server.params import check_params
from minivess.server.training import train_in_process

router = APIRouter()
_Params = Annotated[dict[str, Any] | None, Body()]
_STOP_S = 12.0  # that a stop waits for what it has stopped
#: MONAI Label's words for what a job is doing.
_STATUS = {"queued": "SUBMITTED", "running": "RUNNING", "done": "DONE", "failed": "ERROR", "cancelled": "STOPPED"}


@router.post("/train/{model}", tags=["Train"], summary="Start a training")
def train(request: Request, model: str, params: _Params = None, run_sync: bool = False, enqueue: bool = False) -> dict[str, Any]:
    """Start a training; 429 where one is under way, unless ``enqueue`` lets it wait."""
    _find("trainer", model, app_instance().info()["trainers"])
    if not enqueue:
        _refuse_second("train")
    job = _asked(request, "train", model, params)

    def somebody_waits() -> bool:
        return any(other.state == "running" for other in _jobs().open("infer"))

    def work() -> dict[str, Any]:
        task = app_instance()._trainers[model]
        stats = train_in_process({**job.request, "model": model}, task.stats, somebody_waits=somebody_waits)
        if app_instance()._auto_update_scoring:
            app_instance().async_scoring(None)
        return stats

    return _begin(job, work, run_sync)


@router.post("/train/", tags=["Train"], include_in_schema=False, deprecated=True)
def train_all(request: Request, params: _Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start the training of every model."""
    names, own = list(app_instance().info()["trainers"]), params or {}
    return {n: {"result": train(request, n, own.get(n, own), run_sync, enqueue=True), "detail": None} for n in names}


@router.post("/scoring/{method}", tags=["Scoring"], summary="Start a scoring")
def score(request: Request, method: str, params: _Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start a scoring; 429 where the same one is under way."""
    _find("scoring method", method, app_instance().info()["scoring"])
    _refuse_second("scoring", method)
    check_params(params or {})
    job = app_instance().score_as_job(method, params or {})
    while run_sync and not job.over:
        time.sleep(0.1)
    return _record(job)


@router.post("/scoring/", tags=["Scoring"], include_in_schema=False, deprecated=True)
def score_all(request: Request, params: _Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start every scoring."""
    names, own = list(app_instance().info()["scoring"]), params or {}
    return {n: {"result": score(request, n, own.get(n, own), run_sync), "detail": None} for n in names}


@router.post("/batch/infer/{model}", tags=["Infer"], summary="Segment many images")
def batch_infer(
    request: Request,
    model: str,
    images: Literal["all", "labeled", "unlabeled"] = "all",
    params: _Params = None,
    run_sync: bool = False,
) -> dict[str, Any]:
    """Segment many images and keep the predictions; clicks go first. 429 where one is under way."""
    _find("model", model, app_instance().info()["models"])
    _refuse_second("batch_infer")
    job = _asked(request, "batch_infer", model, params)
    work = {**job.request, "model": model, "images": images}
    return _begin(job, lambda: {"images": len(app_instance().batch_infer(work))}, run_sync)


def status(kind: str, *, all: bool, check_if_running: bool) -> Any:
    """Tell of the last job of a kind, of every one, or of the one that runs."""
    found = _jobs().open(kind) if check_if_running else _jobs().all(kind)
    if not found:
        raise NotFoundError(f"No {kind} job {'is running' if check_if_running else 'was started'}.")
    running = [job for job in found if job.state == "running"] or found
    return [_record(job) for job in found] if all else _record(running[0] if check_if_running else found[-1])


def stop(kind: str, actor: str) -> dict[str, Any] | None:
    """End the jobs of a kind, and wait a little until they have ended."""
    found = _jobs().open(kind)
    for job in found:
        job.cancel(actor)
    until = time.monotonic() + _STOP_S
    while any(not job.over for job in found) and time.monotonic() < until:
        time.sleep(0.05)
    return _record(found[0]) if found else None


def _add(path: str, kind: str, tag: str) -> None:
    @router.get(path, tags=[tag], summary=f"How far the {kind} is", name=f"{kind}_status")
    def tell(all: bool = False, check_if_running: bool = False) -> Any:
        return status(kind, all=all, check_if_running=check_if_running)

    @router.delete(path, tags=[tag], summary=f"Stop the {kind}", name=f"{kind}_stop")
    def end(request: Request) -> Any:
        return stop(kind, request.scope["minivess.person"].name)


_add("/train/", "train", "Train")
_add("/scoring/", "scoring", "Scoring")
_add("/batch/infer", "batch_infer", "Infer")


def _jobs() -> Jobs:
    jobs: Jobs = app_instance().jobs
    return jobs


def _find(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise NotFoundError(f"There is no {what} {name!r}. Allowed: {', '.join(known) or 'none is there'}.")


def _refuse_second(kind: str, subject: str | None = None) -> None:
    if any(subject in (None, job.subject) for job in _jobs().open(kind)):
        raise HTTPException(429, f"A {kind} job is under way. See GET /jobs/; stop it there, or wait.")


def _asked(request: Request, kind: str, subject: str, params: dict[str, Any] | None) -> Job:
    check_params(params or {})
    person = request.scope["minivess.person"]
    return Job.asked(kind, subject, params or {}, urgency=Urgency.BATCH, actor=person.name)


def _begin(job: Job, work: Callable[[], Any], run_sync: bool) -> dict[str, Any]:
    if run_sync:
        job.change(result=_jobs().run(job, work))
    else:
        _jobs().start(job, work)
    return _record(job)


def _record(job: Job) -> dict[str, Any]:
    """Tell of a job as MONAI Label does; ``job`` holds what it does not know."""
    record = {
        "id": job.id,
        "status": _STATUS[job.state],
        "request": {**job.request, "model" if job.kind != "scoring" else "method": job.subject},
        "start_ts": _stamp(job.created),
        "details": job.details or [line for line in (job.message,) if line],
        "job": job.to_json(),
    }
    return record | ({"end_ts": _stamp(job.ended)} if job.ended else {})


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
