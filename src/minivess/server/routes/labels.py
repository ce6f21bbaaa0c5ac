"""The history of labels: list, compare, review and restore revisions, decide between two annotators. ``/labels/``."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Request
from fastapi.responses import FileResponse

from minivess.errors import UsageError
from minivess.evaluate.compare_revisions import compare_revisions
from minivess.metrics.morphology import measure_vessels
from minivess.server.dependencies import LONG, App, CurrentAccount, Review, Store
from minivess.server.params import read_params
from minivess.server.roles import requires
from minivess.store import Revision
from minivess.store.store import ReviewState
from minivess.volume import read_volume

router = APIRouter(prefix="/labels", tags=["Labels"])
_Number = Annotated[int, Path(ge=1, le=10**9)]


@router.get("/", summary="Labels that wait for a decision between two annotators", dependencies=[requires("reader")])
def conflicting(store: Store) -> list[dict[str, Any]]:
    """List revisions that were made from an older base than the current label; restoring one of both decides."""
    return [_row(revision) for revision in store.conflicting()]


@router.get("/{image}", summary="History of an image's labels", dependencies=[requires("reader")])
def history(image: str, store: Store) -> dict[str, Any]:
    """List revisions and reviews, the oldest first."""
    return {"revisions": [_row(revision) for revision in store.history(image)], "reviews": store.reviews(image)}


@router.get("/{image}/{number}", summary="One revision", dependencies=[requires("reader")])
def revision(image: str, number: _Number, store: Store) -> dict[str, Any]:
    """Return the facts about a revision."""
    return _row(store.revision(image, number))


@router.get(
    "/{image}/{number}/file", summary="Label of a revision", response_class=FileResponse, dependencies=[requires("reader")]
)
def file(image: str, number: _Number, app: App) -> FileResponse:
    """Send the label of a revision, current or not."""
    datastore = app.datastore()
    served = datastore.store.revision(image, number)
    path = datastore.store.label_file(served)
    if served.state == "current":
        datastore.record_served(image, served.tag)
    return FileResponse(path, media_type="application/gzip", filename=f"{image}-{number}.nii.gz")


@router.get("/{image}/{number}/measurements", summary="Vessels of a revision", dependencies=[requires("reader"), LONG])
def measurements(image: str, number: _Number, store: Store, review: Review) -> dict[str, Any]:
    """Measure the vessels of a label: volume, length of the centre lines, mean diameter, branch points, pieces."""
    served = store.revision(image, number)
    measured = measure_vessels(read_volume(store.label_file(served)).array > 0, review.read(image).spacing_um)
    return {"case": image, "number": number, **measured.to_json()}


@router.get(
    "/{image}/{number}/diff/{other}", summary="Differences between two revisions", dependencies=[requires("reader"), LONG]
)
def diff(image: str, number: _Number, other: _Number, store: Store) -> dict[str, Any]:
    """Count the voxels that were added and removed since the other revision."""
    return compare_revisions(store, store.revision(image, number), store.revision(image, other))


@router.post("/{image}/{number}/restore", summary="Make a revision current again", dependencies=[requires("reviewer")])
def restore(image: str, number: _Number, account: CurrentAccount, store: Store) -> dict[str, Any]:
    """Make an earlier revision, or one of two conflicting ones, the current label, as a new revision."""
    return _row(store.restore(image, number, actor=account.name))


@router.post("/{image}/{number}/review", summary="Approve, flag or reject a revision", dependencies=[requires("reviewer")])
def review(
    image: str,
    number: _Number,
    account: CurrentAccount,
    store: Store,
    state: Annotated[ReviewState, Body()],
    comment: Annotated[str, Body(max_length=4000)] = "",
) -> dict[str, Any]:
    """Record a review, and return the history."""
    store.review(image, number, state, actor=account.name, comment=comment)
    return history(image, store)


def with_preconditions(arguments: dict[str, Any], request: Request) -> dict[str, Any]:
    """Add ``Idempotency-Key`` and ``If-Match`` (the revision that a label was made from) of a submission to its parameters.

    Args:
        arguments: Arguments of MONAI Label's endpoint.
        request: The submission.

    Raises:
        UsageError: When ``If-Match`` is not the number of a revision.
    """
    params = read_params(arguments.get("params") or "{}")
    key, base = request.headers.get("idempotency-key"), request.headers.get("if-match")
    if key:
        params["idempotency_key"] = key[:200]
    if base:
        if not re.fullmatch(r"[0-9]{1,9}", base.strip('"')):
            raise UsageError(f"If-Match is the number of a revision. Got {base[:40]!r}.")
        params["base"] = int(base.strip('"'))
    return {**arguments, "params": json.dumps(params)}


def _row(revision: Revision) -> dict[str, Any]:
    columns = ("number", "tag", "state", "actor", "base", "time_utc", "sha256")
    facts = {name: getattr(revision, name) for name in columns}
    return {"case": revision.image_id, **facts, "voxels": revision.info.voxels, "changes": list(revision.info.changes)}
