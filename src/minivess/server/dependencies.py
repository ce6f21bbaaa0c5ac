"""Dependencies of the endpoints: the user who asks, the store and the review of the label app, and volumes as responses."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from minivess.errors import BusyError
from minivess.jobs import Jobs
from minivess.review.drafts import Drafts
from minivess.review.service import ReviewService
from minivess.server.accounts import Account
from minivess.server.label_app import LabelApp, label_app, running_jobs
from minivess.store import LabelStore
from minivess.store.names import check_name
from minivess.volume import Volume, write_volume

#: Key of the request's scope under which the guard stores the account.
ACCOUNT_KEY = "minivess.account"
#: Key of the request's scope under which the guard stores the id of the request.
REQUEST_ID_KEY = "minivess.request_id"
#: Long requests of one user at once, of the 40 threads of the server.
LONG_REQUESTS = 8
#: So long others of the same user wait before they are refused.
LONG_WAIT_S = 20.0


def current_account(request: Request) -> Account:
    """Return the account of the user who asks."""
    account: Account = request.scope[ACCOUNT_KEY]
    return account


def _store() -> LabelStore:
    return label_app().datastore().store


def _review() -> ReviewService:
    return label_app().review


def _drafts() -> Drafts:
    return label_app().drafts


class _Running:
    """How many of the requests that keep a thread busy each user has running."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_user: Counter[str] = Counter()

    def begin(self, user: str) -> bool:
        """Return whether one more may run; it counts then."""
        with self._lock:
            if self._by_user[user] >= LONG_REQUESTS:
                return False
            self._by_user[user] += 1
            return True

    def end(self, user: str) -> None:
        with self._lock:
            self._by_user[user] -= 1


_running = _Running()


async def limit_per_user(request: Request) -> AsyncIterator[None]:
    """Limit the long requests of one user at once; others wait, without a thread: the threads are there for all.

    A page that was loaded again waits for what its earlier requests still compute.

    Raises:
        BusyError: When as many as are allowed go on for a while.
    """
    user, until = current_account(request).name, time.monotonic() + LONG_WAIT_S
    while not _running.begin(user):
        if time.monotonic() > until:
            raise BusyError(f"You have {LONG_REQUESTS} such requests running. Wait for one of them, then send this again.")
        await asyncio.sleep(0.05)
    try:
        yield
    finally:
        _running.end(user)


#: For endpoints that compute for seconds.
LONG = Depends(limit_per_user)


def check_image(image: str) -> None:
    """Check the id of an image in a path.

    Raises:
        UnsafeFileError: When it is none.
    """
    check_name(image, "The image id")


CHECKED_IMAGE = Depends(check_image)
CurrentAccount = Annotated[Account, Depends(current_account)]
App = Annotated[LabelApp, Depends(label_app)]
RunningJobs = Annotated[Jobs, Depends(running_jobs)]
Store = Annotated[LabelStore, Depends(_store)]
Review = Annotated[ReviewService, Depends(_review)]
UserDrafts = Annotated[Drafts, Depends(_drafts)]


def volume_response(volume: Volume, name: str, suffix: str) -> FileResponse:
    """Return a volume as a file, which is deleted afterwards.

    Args:
        volume: The volume.
        name: Name of the file without suffix.
        suffix: ``nrrd`` or ``nii.gz``.
    """
    folder = tempfile.TemporaryDirectory(prefix="minivess_download.")
    path = write_volume(volume, Path(folder.name) / f"{name}.{suffix}")
    return FileResponse(
        path, media_type="application/octet-stream", filename=path.name, background=BackgroundTask(folder.cleanup)
    )
