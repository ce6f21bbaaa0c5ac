"""What the review endpoints share: the label app's desk, who asks, and volumes as answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance
from starlette.background import BackgroundTask

from minivess.errors import NotFoundError
from minivess.review.desk import ReviewDesk
from minivess.review.drafts import Drafts
from minivess.volume import Volume, write_volume


def the_desk() -> ReviewDesk:
    """Give the desk of the label app.

    Raises:
        NotFoundError: When it has none.
    """
    desk: ReviewDesk | None = getattr(app_instance(), "desk", None)
    if desk is None:
        raise NotFoundError("This app has no queue of places.")
    return desk


def the_drafts() -> Drafts:
    """Give the drafts of the label app."""
    drafts: Drafts = app_instance().drafts
    return drafts


def name_of(request: Request) -> str:
    """Say who asks."""
    return str(request.scope["minivess.person"].name)


def volume_file(volume: Volume, name: str, suffix: str) -> FileResponse:
    """Answer with a volume as a file, which is deleted afterwards."""
    folder = tempfile.TemporaryDirectory(prefix="minivess_answer.")
    path = write_volume(volume, Path(folder.name) / f"{name}.{suffix}")
    return FileResponse(
        path, media_type="application/octet-stream", filename=path.name, background=BackgroundTask(folder.cleanup)
    )
