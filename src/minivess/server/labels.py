"""The history of labels over HTTP: look, compare, review, restore, and decide between two annotators. ``/labels/``."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Request
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance

from minivess.errors import NotFoundError, UsageError
from minivess.server.params import read_params
from minivess.store import LabelStore, Revision
from minivess.store.compare import compare_revisions

router = APIRouter(prefix="/labels", tags=["Labels"])
_Number = Annotated[int, Path(ge=1, le=10**9)]


@router.get("/", summary="Labels that wait for a decision between two annotators")
def rivals() -> list[dict[str, Any]]:
    """List the revisions that were made from an older base than somebody else's; restoring one decides."""
    return [_row(revision) for revision in _store().rivals()]


@router.get("/{image}", summary="The history of an image's labels")
def history(image: str) -> dict[str, Any]:
    """List revisions and reviews, the oldest first."""
    return {"revisions": [_row(revision) for revision in _store().history(image)], "reviews": _store().reviews(image)}


@router.get("/{image}/{number}", summary="One revision")
def revision(image: str, number: _Number) -> dict[str, Any]:
    """Tell of a revision."""
    return _row(_store().revision(image, number))


@router.get("/{image}/{number}/file", summary="The label of a revision", response_class=FileResponse)
def file(image: str, number: _Number) -> FileResponse:
    """Send the label, also one that counts no more."""
    found = _store().revision(image, number)
    if found.state == "current":
        app_instance().datastore().shown(image, found.tag)
    return FileResponse(found.path, media_type="application/gzip", filename=f"{image}-{number}.nii.gz")


@router.get("/{image}/{number}/diff/{other}", summary="How a revision differs from another")
def diff(image: str, number: _Number, other: _Number) -> dict[str, Any]:
    """Count voxels added and removed since the other."""
    return compare_revisions(_store().revision(image, number), _store().revision(image, other))


@router.post("/{image}/{number}/restore", summary="Let a revision count again")
def restore(image: str, number: _Number, request: Request) -> dict[str, Any]:
    """Make an earlier revision, or one of two rivals, the label that counts: as a new revision. Role reviewer."""
    return _row(_store().restore(image, number, actor=request.scope["minivess.person"].name))


@router.post("/{image}/{number}/review", summary="Approve, flag or reject a revision")
def review(
    image: str,
    number: _Number,
    request: Request,
    state: Annotated[Literal["approved", "flagged", "rejected"], Body()],
    comment: Annotated[str, Body(max_length=4000)] = "",
) -> dict[str, Any]:
    """Keep what a reviewer thinks. Role reviewer."""
    _store().review(image, number, state, actor=request.scope["minivess.person"].name, comment=comment)
    return history(image)


def with_preconditions(arguments: dict[str, Any], request: Request) -> dict[str, Any]:
    """Take ``Idempotency-Key`` and ``If-Match`` (the revision that a label was made from) from a submission's headers.

    Raises:
        UsageError: When ``If-Match`` is no number of a revision.
    """
    params = read_params(arguments.get("params") or "{}")
    key, base = request.headers.get("idempotency-key"), request.headers.get("if-match")
    if key:
        params["idempotency_key"] = key[:200]
    if base:
        if not re.fullmatch(r"[0-9]{1,9}", base.strip('"')):
            raise UsageError(f"If-Match: the number of a revision is wanted. Got {base[:40]!r}.")
        params["base"] = int(base.strip('"'))
    return {**arguments, "params": json.dumps(params)}


def _store() -> LabelStore:
    store: LabelStore | None = getattr(app_instance().datastore(), "store", None)
    if store is None:
        raise NotFoundError("This app keeps its labels in another store, which has no history.")
    return store


def _row(revision: Revision) -> dict[str, Any]:
    names = ("case", "number", "tag", "state", "actor", "base", "time_utc", "sha256")
    about = {name: getattr(revision, name) for name in names}
    return {**about, "voxels": revision.info.get("voxels", {}), "changes": revision.info.get("changes", [])}
