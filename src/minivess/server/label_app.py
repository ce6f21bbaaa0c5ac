"""What the server needs of the label app: one Protocol, and the one place where the running app is looked up."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from monailabel.interfaces.utils.app import app_instance

from minivess.errors import UsageError
from minivess.jobs import Job, Jobs
from minivess.models import ModelRef
from minivess.review.drafts import Drafts
from minivess.review.service import ReviewService
from minivess.store import LabelStore


class LabelDatastore(Protocol):
    """Images and labels of the app."""

    store: LabelStore

    def status(self) -> dict[str, Any]:
        """Count images and labels: ``total`` and ``completed``."""
        ...

    def get_image_uri(self, image_id: str) -> str:
        """Return the file of an image, which is downloaded first where it is on another server."""
        ...

    def record_served(self, label_id: str, label_tag: str) -> None:
        """Record that the current label was served to the current user.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
        """
        ...

    def write_dicom_seg(self, image_id: str, mask: Path, model: ModelRef | None, target: Path) -> Path:
        """Write a mask as DICOM SEG.

        Args:
            image_id: The image.
            mask: File of the mask.
            model: The model that predicted it; None for a label.
            target: File to write.
        """
        ...


class Trainer(Protocol):
    """A training of the app."""

    def check(self, request: Mapping[str, Any]) -> None:
        """Check what a client has set; raise UsageError where it is not allowed."""
        ...

    def note_roll_back(self, actor: str) -> None:
        """Note that somebody went back to the model before."""
        ...

    def stats(self) -> dict[str, Any]:
        """Return the progress of the last training."""
        ...


class LabelApp(Protocol):
    """The label app, as the server uses it; implemented by :class:`minivess.label_app.VesselApp`."""

    jobs: Jobs | None

    @property
    def review(self) -> ReviewService:
        """The review of the studies."""
        ...

    @property
    def drafts(self) -> Drafts:
        """The drafts of the users."""
        ...

    @property
    def models(self) -> Mapping[str, Any]:
        """Model name -> inference task."""
        ...

    @property
    def trainers(self) -> Mapping[str, Trainer]:
        """Model name -> training task."""
        ...

    @property
    def scores_after_training(self) -> bool:
        """Whether images are scored again after each training."""
        ...

    def unreadable(self) -> Mapping[str, str]:
        """Image id -> why it could not be read."""
        ...

    def datastore(self) -> LabelDatastore:
        """Return images and labels."""
        ...

    def sessions(self) -> Any:
        """Return MONAI Label's sessions; None when it has none."""
        ...

    def info(self) -> dict[str, Any]:
        """Return MONAI Label's description of the app."""
        ...

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Segment an image."""
        ...

    def batch_infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Segment many images."""
        ...

    def async_scoring(self, method: str | None) -> dict[str, Any]:
        """Score in the background."""
        ...

    def score_as_job(self, method: str, params: dict[str, Any]) -> Job:
        """Start a scoring.

        Args:
            method: Name of the method.
            params: Its parameters.
        """
        ...

    def server_mode(self, mode: bool) -> None:
        """Set whether the app runs in a server."""
        ...

    def on_init_complete(self) -> None:
        """Start what only a server does."""
        ...


def label_app() -> LabelApp:
    """Return the running label app; it is loaded by the first call.

    Raises:
        UsageError: When MONAI Label was started with another app.
    """
    app: LabelApp = app_instance()
    members = [name for name, _ in inspect.getmembers_static(LabelApp) if not name.startswith("_")]
    missing = [name for name in members if inspect.getattr_static(type(app), name, None) is None]
    if missing:
        raise UsageError(
            f"This server runs the MinIVess label app. Got {type(app).__name__}, without {', '.join(missing)}. "
            "Start another app with MONAI Label's own server: leave out --uvicorn_app."
        )
    return app


def running_jobs() -> Jobs:
    """Return the jobs of the server, which exist from its start to its end."""
    jobs = label_app().jobs
    if jobs is None:
        raise RuntimeError("the server has not started")
    return jobs
