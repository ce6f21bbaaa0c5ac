"""Whether an image is there with a content: MONAI Label's address; its own answer says no to every checksum."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from minivess.errors import UsageError
from minivess.server.dependencies import LONG, App
from minivess.server.roles import requires

router = APIRouter(tags=["Datastore"])
_STATED = re.compile(r"(?:(MD5|SHA256|SHA512):)?([0-9A-Fa-f]{32,128})")


@router.head("/datastore/image", include_in_schema=False, dependencies=[requires("reader"), LONG])
def check_image(app: App, image: str, check_sum: Annotated[str | None, Query()] = None) -> None:
    """Answer 200 when the image is there, and has the checksum where one is stated; else 404."""
    path = Path(app.datastore().get_image_uri(image))
    if not path.is_file():
        raise HTTPException(404, "The image is not there.")
    if check_sum is None:
        return
    stated = _STATED.fullmatch(check_sum)
    if stated is None:
        raise UsageError(f"check_sum is ALGORITHM:HEX. Allowed algorithms: MD5, SHA256, SHA512. Got {check_sum[:40]!r}.")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, (stated[1] or "SHA256").lower()).hexdigest()
    if found != stated[2].lower():
        raise HTTPException(404, "The image has another checksum.")
