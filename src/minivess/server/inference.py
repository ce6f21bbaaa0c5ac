"""An inference over HTTP is a job: it waits its turn, can be followed and stopped, and stops when its client goes away."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from starlette.background import BackgroundTask

from minivess.errors import NotFoundError, UsageError
from minivess.jobs import Job, Urgency
from minivess.models import ModelRef
from minivess.server.params import read_params

_waiting = CapacityLimiter(128)  # threads of those who wait for a model, apart from those who answer quick requests
_LOOK_S = 0.3


def as_job(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a handler of inferences into a coroutine function that runs it as a job in a thread of its own.

    Args:
        answer: Takes what MONAI Label's handler takes; its signature is kept.
    """

    async def run(request: Request, **arguments: Any) -> Any:
        person = request.scope["minivess.person"]
        asked = {"timeout": settings.MONAI_LABEL_INFER_TIMEOUT, **read_params(arguments.get("params") or "{}")}
        known = app_instance()._infers
        if arguments["model"] not in known:  # before there is a job of that name
            raise NotFoundError(
                f"There is no model {arguments['model'][:60]!r}. Allowed: {', '.join(known) or 'none is there yet'}."
            )
        job = Job.asked(
            "infer",
            arguments["model"],
            asked,
            urgency=Urgency.CLICK,
            actor=person.name,
            id=request.scope["minivess.request_id"],
        )
        if arguments.get("output") == "dicom_seg":
            work = partial(_dicom_seg, arguments["model"], arguments["image"], asked)
        else:
            work = partial(answer, **arguments)
        watcher = asyncio.create_task(_stop_when_gone(request, job))
        try:
            return await to_thread.run_sync(lambda: app_instance().jobs.run(job, work), limiter=_waiting)
        finally:
            watcher.cancel()

    run.__name__, run.__doc__ = answer.__name__, answer.__doc__
    parameter = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    signature = inspect.signature(answer)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), parameter])  # type: ignore[attr-defined]
    return run


def _dicom_seg(model: str, image: str, params: dict[str, Any]) -> FileResponse:
    """Segment an image of a DICOM server and answer with a SEG."""
    app = app_instance()
    write = getattr(app.datastore(), "seg_of", None)
    if write is None or not image:
        raise UsageError("output=dicom_seg is for an image of a DICOM server: minivess serve http://HOST/dicom-web.")
    result = app.infer({**params, "model": model, "image": image, "result_extension": ".nii.gz"})
    mask = Path(result["file"])
    try:
        seg = write(image, mask, ModelRef(**result["params"]["minivess"]["model"]), mask.with_suffix(".dcm"))
    finally:
        mask.unlink(missing_ok=True)
    return FileResponse(seg, media_type="application/dicom", filename=f"{image}.dcm", background=BackgroundTask(seg.unlink))


async def _stop_when_gone(request: Request, job: Job) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(_LOOK_S)
    job.cancel("its client, which has gone away")
