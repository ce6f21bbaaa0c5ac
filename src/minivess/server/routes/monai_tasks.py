"""Training, scoring and batch inference: MONAI Label's addresses and form, run as our jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, HTTPException

from minivess.errors import NotFoundError, UsageError, check_known
from minivess.jobs import Job, Jobs, Urgency
from minivess.server.accounts import Account, Role
from minivess.server.dependencies import App, CurrentAccount, RunningJobs
from minivess.server.error_responses import without_folders
from minivess.server.params import check_params
from minivess.server.roles import requires
from minivess.server.routes.jobs import check_may_stop, job_json
from minivess.server.training import train_in_process

router = APIRouter()
_Params = Annotated[dict[str, Any] | None, Body()]
_STOP_S = 12.0  # time that a stop waits for the jobs to end
#: MONAI Label's names for the states of a job.
_STATUS = {"queued": "SUBMITTED", "running": "RUNNING", "done": "DONE", "failed": "ERROR", "cancelled": "STOPPED"}


@router.post("/train/{model}", tags=["Train"], summary="Start a training", dependencies=[requires("admin")])
def train(
    model: str,
    app: App,
    jobs: RunningJobs,
    account: CurrentAccount,
    params: _Params = None,
    run_sync: bool = False,
    enqueue: bool = False,
) -> dict[str, Any]:
    """Start a training; 429 when one is running, unless ``enqueue`` is set."""
    check_known("trainer", model, app.info()["trainers"])
    app.trainers[model].check(params or {})
    if not enqueue:
        _refuse_second(jobs, "train")
    job = _new_job(account, "train", model, params)

    def inference_is_running() -> bool:
        return any(other.state == "running" for other in jobs.open("infer"))

    def work() -> dict[str, Any]:
        stats = train_in_process({**job.request, "model": model}, app.trainers[model].stats, should_pause=inference_is_running)
        if app.scores_after_training:
            app.async_scoring(None)
        return stats

    return _begin(jobs, job, work, run_sync)


@router.post("/train/", tags=["Train"], include_in_schema=False, deprecated=True, dependencies=[requires("admin")])
def train_all(
    app: App, jobs: RunningJobs, account: CurrentAccount, params: _Params = None, run_sync: bool = False
) -> dict[str, Any]:
    """Start the training of the model that ``model`` names, or of every model."""
    own = dict(params or {})
    wanted = own.pop("model", None)
    if isinstance(wanted, str):
        return train(wanted, app, jobs, account, own, run_sync, enqueue=True)
    return {
        name: {"result": train(name, app, jobs, account, _params_of(name, own), run_sync, enqueue=True), "detail": None}
        for name in app.info()["trainers"]
    }


@router.post("/scoring/{method}", tags=["Scoring"], summary="Start a scoring", dependencies=[requires("annotator")])
def score(method: str, app: App, jobs: RunningJobs, params: _Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start a scoring; 429 when the same one is running."""
    check_known("scoring method", method, app.info()["scoring"])
    _refuse_second(jobs, "scoring", method)
    check_params(params or {})
    job = app.score_as_job(method, params or {})
    while run_sync and not job.over:
        time.sleep(0.1)
    return _record(job)


@router.post("/scoring/", tags=["Scoring"], include_in_schema=False, deprecated=True, dependencies=[requires("annotator")])
def score_all(app: App, jobs: RunningJobs, params: _Params = None, run_sync: bool = False) -> dict[str, Any]:
    """Start every scoring."""
    own = params or {}
    return {
        name: {"result": score(name, app, jobs, _params_of(name, own), run_sync), "detail": None}
        for name in app.info()["scoring"]
    }


@router.post("/batch/infer/{model}", tags=["Infer"], summary="Segment many images", dependencies=[requires("admin")])
def batch_infer(
    model: str,
    app: App,
    jobs: RunningJobs,
    account: CurrentAccount,
    images: Literal["all", "labeled", "unlabeled"] = "all",
    params: _Params = None,
    run_sync: bool = False,
) -> dict[str, Any]:
    """Segment many images and save the predictions; clicks go first. 429 when one is running."""
    check_known("model", model, app.info()["models"])
    _refuse_second(jobs, "batch_infer")
    job = _new_job(account, "batch_infer", model, params)
    request = {**job.request, "model": model, "images": images}
    return _begin(jobs, job, lambda: {"images": len(app.batch_infer(request))}, run_sync)


def status(jobs: Jobs, kind: str, *, all: bool, check_if_running: bool) -> Any:
    """Return the last job of a kind, all of them, or the running one.

    Args:
        jobs: The jobs of the server.
        kind: Kind of job.
        all: Return all.
        check_if_running: Return the running one.

    Raises:
        NotFoundError: When there is none.
    """
    listed = jobs.open(kind) if check_if_running else jobs.all(kind)
    if not listed:
        raise NotFoundError(f"No {kind} job {'is running' if check_if_running else 'was started'}.")
    running = [job for job in listed if job.state == "running"] or listed
    return [_record(job) for job in listed] if all else _record(running[0] if check_if_running else listed[-1])


def stop(jobs: Jobs, kind: str, account: Account) -> dict[str, Any] | None:
    """Stop the jobs of a kind, and wait until they have ended.

    Args:
        jobs: The jobs of the server.
        kind: Kind of job.
        account: Who stops them.

    Raises:
        HTTPException: 403 where one of them is another user's, and the role does not allow it.
    """
    listed = jobs.open(kind)
    for job in listed:
        check_may_stop(account, job)
    for job in listed:
        job.cancel(account.name)
    until = time.monotonic() + _STOP_S
    while any(not job.over for job in listed) and time.monotonic() < until:
        time.sleep(0.05)
    return _record(listed[0]) if listed else None


def _add_status_routes(path: str, kind: str, tag: str, stop_role: Role) -> None:
    @router.get(path, tags=[tag], summary=f"Progress of the {kind}", name=f"{kind}_status", dependencies=[requires("reader")])
    def get_status(jobs: RunningJobs, all: bool = False, check_if_running: bool = False) -> Any:
        return status(jobs, kind, all=all, check_if_running=check_if_running)

    @router.delete(path, tags=[tag], summary=f"Stop the {kind}", name=f"{kind}_stop", dependencies=[requires(stop_role)])
    def delete(jobs: RunningJobs, account: CurrentAccount) -> Any:
        return stop(jobs, kind, account)


_add_status_routes("/train/", "train", "Train", "admin")
_add_status_routes("/scoring/", "scoring", "Scoring", "annotator")
_add_status_routes("/batch/infer", "batch_infer", "Infer", "admin")


def _params_of(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of one task: those under its name, or all of them."""
    own = params.get(name, params)
    if not isinstance(own, dict):
        raise UsageError(f"The parameters of {name} must be an object. Got {type(own).__name__}.")
    return own


def _refuse_second(jobs: Jobs, kind: str, subject: str | None = None) -> None:
    if any(subject in (None, job.subject) for job in jobs.open(kind)):
        raise HTTPException(429, f"A {kind} job is running. See GET /jobs/; stop it, or wait until it has ended.")


def _new_job(account: Account, kind: str, subject: str, params: dict[str, Any] | None) -> Job:
    check_params(params or {})
    return Job.from_request(kind, subject, params or {}, urgency=Urgency.BATCH, actor=account.name)


def _begin(jobs: Jobs, job: Job, work: Callable[[], Any], run_sync: bool) -> dict[str, Any]:
    if run_sync:
        job.change(result=jobs.run(job, work))
    else:
        jobs.start(job, work)
    return _record(job)


def _record(job: Job) -> dict[str, Any]:
    """Return a job in MONAI Label's form; ``job`` has what that form lacks."""
    record = {
        "id": job.id,
        "status": _STATUS[job.state],
        "request": {**job.request, "model" if job.kind != "scoring" else "method": job.subject},
        "start_ts": _timestamp(job.created),
        "details": [without_folders(line) for line in job.details or (job.message,) if line],
        "job": job_json(job),
    }
    return record | ({"end_ts": _timestamp(job.ended)} if job.ended else {})


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
