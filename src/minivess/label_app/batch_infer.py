"""Segment many images one after the other; one that cannot be read does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.utils.others.generic import name_to_device

from minivess.errors import CancelledError, DeadlineError, InputError
from minivess.jobs import current_job

_logger = logging.getLogger(__name__)


def segment_all(request: dict[str, Any], datastore: Datastore, infer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Segment the images of a request, and save the predictions as labels with the tag ``original``.

    MONAI Label's own task divides by the number of GPUs, and stops at the first image that fails.

    Args:
        request: ``images`` (``all``, ``labeled``, ``unlabeled`` or ids), ``max_batch_size``, ``label_tag``, and what
            inference takes.
        datastore: Images and labels.
        infer: Segments one image.

    Returns:
        Image id -> result of ``infer``, or ``{"error": ...}``.

    Raises:
        InputError: When ``max_batch_size`` is not a number from 0.
    """
    images = sorted(BatchInferTask().get_images(request, datastore))
    limit = request.get("max_batch_size") or 0
    if not isinstance(limit, int) or limit < 0:
        raise InputError(f"max_batch_size is a number from 0 (no limit). Got {str(limit)[:40]!r}.")
    images = images[: limit or None]
    shared = {k: v for k, v in request.items() if k not in ("images", "max_batch_size", "max_workers", "multi_gpu", "gpus")}
    shared |= {"save_label": True, "label_tag": request.get("label_tag") or DefaultLabelTag.ORIGINAL.value}
    shared["device"] = name_to_device(request.get("device"))
    job, done = current_job(), dict[str, Any]()
    for image in job.parts(images, "image"):
        try:
            done[image] = infer({**shared, "image": image}, datastore)
            file = done[image].pop("file", None)
            if file:
                Path(file).unlink(missing_ok=True)
        except HTTPException as error:
            if isinstance(error.__cause__, (CancelledError, DeadlineError)):
                raise
            done[image] = {"error": str(error.detail)}
        except (CancelledError, DeadlineError):
            raise
        except Exception as error:  # one image never stops the others
            _logger.exception("image %s could not be segmented", image)
            done[image] = {"error": f"{type(error).__name__}: {error}"}
    _logger.info("%d images segmented, %d failed", len(done), sum("error" in row for row in done.values()))
    return done
