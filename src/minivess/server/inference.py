"""Run MONAI Label's inference endpoint as a job: queued by urgency, followed, cancelled when its client disconnects."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import FileResponse
from monailabel.config import settings
from starlette.background import BackgroundTask

from minivess.errors import UsageError, check_known
from minivess.jobs import Job, Urgency
from minivess.models import ModelRef
from minivess.server.dependencies import REQUEST_ID_KEY, current_account
from minivess.server.label_app import label_app
from minivess.server.params import read_params
from minivess.server.request_job import run_for_client


def as_job(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Convert a handler of inferences to a coroutine function that runs it as a job, in a thread of its own.

    Args:
        handler: MONAI Label's handler; its signature is kept.
    """

    async def run(request: Request, **arguments: Any) -> Any:
        params = {"timeout": settings.MONAI_LABEL_INFER_TIMEOUT, **read_params(arguments.get("params") or "{}")}
        check_known("model", arguments["model"], label_app().models)
        job = Job.from_request(
            "infer",
            arguments["model"],
            params,
            urgency=Urgency.CLICK,
            actor=current_account(request).name,
            id=request.scope[REQUEST_ID_KEY],
        )
        if arguments.get("output") == "dicom_seg":
            work = partial(_dicom_seg, arguments["model"], arguments["image"], params)
        else:
            work = partial(handler, **arguments)
        return await run_for_client(request, job, work)

    run.__name__, run.__doc__ = handler.__name__, handler.__doc__
    parameter = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    signature = inspect.signature(handler)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), parameter])  # type: ignore[attr-defined]
    return run


def _dicom_seg(model: str, image: str, params: dict[str, Any]) -> FileResponse:
    """Segment an image of a DICOM server and respond with a SEG."""
    app = label_app()
    if not image:
        raise UsageError("output=dicom_seg needs an image of a DICOM server: minivess serve http://HOST/dicom-web.")
    result = app.infer({**params, "model": model, "image": image, "result_extension": ".nii.gz"})
    mask, predicted_by = Path(result["file"]), ModelRef(**result["params"]["minivess"]["model"])
    try:
        seg = app.datastore().write_dicom_seg(image, mask, predicted_by, mask.with_suffix(".dcm"))
    finally:
        mask.unlink(missing_ok=True)
    return FileResponse(seg, media_type="application/dicom", filename=f"{image}.dcm", background=BackgroundTask(seg.unlink))
