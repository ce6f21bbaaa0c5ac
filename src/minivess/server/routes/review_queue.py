"""The review queue: reserve the next item, look at its region, answer it, withdraw the answer. ``/review/``."""

from __future__ import annotations

import base64
import tempfile
import zlib
from pathlib import Path as File
from typing import Annotated, Any, get_args

import numpy as np
from fastapi import APIRouter, BackgroundTasks, Form, HTTPException, Path, Query, UploadFile
from fastapi.responses import Response
from numpy.typing import NDArray

from minivess.errors import BusyError
from minivess.jobs import Job, Jobs, Urgency
from minivess.pictures import png_bytes
from minivess.review.mask_codec import hash_of
from minivess.review.region_picture import region_picture
from minivess.review.service import ReviewService
from minivess.review.suspected_errors import suspected_errors
from minivess.server.dependencies import LONG, CurrentAccount, Review, RunningJobs, UserDrafts
from minivess.server.roles import requires
from minivess.store import QueueItem
from minivess.store.label_check import check_label
from minivess.store.queue_item import QueueState, Verdict
from minivess.volume.io import suffix_of

router = APIRouter(prefix="/review", tags=["Review"])
#: Seconds that an item stays reserved.
LEASE_S = 900.0
#: Largest number of items in a list.
LIST_LIMIT = 1000
#: Largest number of suspected errors of a region in one answer.
SUSPECTED_LIMIT = 50
#: Largest length of a note to an answer.
NOTE_LENGTH = 500
_Image = Annotated[str, Query(max_length=255, description="An image id; empty for all images.")]
_ItemId = Annotated[str, Path(max_length=300, examples=["stack6:12.0"])]


@router.get("/", summary="List the queue", dependencies=[requires("reader")])
def list_items(
    review: Review,
    image: _Image = "",
    state: Annotated[list[QueueState] | None, Query(description="Only items in these states.")] = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=LIST_LIMIT)] = 100,
) -> dict[str, Any]:
    """List items, most expected errors first; ``total`` is their number. Obsolete items only when ``state`` contains it.

    Without ``image``, items of images whose file is missing are left out: nobody could open them.
    """
    states = state or [s for s in get_args(QueueState) if s != "obsolete"]
    among = None if image else review.store.images.ids()
    items, total = review.store.queue.all(image, states=states, offset=offset, limit=limit, among=among)
    return {"total": total, "offset": offset, "places": [item.to_json() for item in items]}


@router.post("/next", summary="Reserve the next item", dependencies=[requires("annotator")])
def next_item(account: CurrentAccount, review: Review, image: _Image = "") -> dict[str, Any]:
    """Reserve the item with most expected errors for 15 minutes; ``place`` is null when none is left.

    ``retrain_first`` says why the queue does not help, when the model is too wrong for it; ``zones`` and ``quality``
    what was calibrated.
    """
    if image:
        review.store.images.get(image)
    item = review.next(account.name, seconds=LEASE_S, image_id=image)
    if item is None:
        return {"place": None}
    return {"place": item.to_json(), **review.advice(item.image_id)}


@router.get("/places/{place}", summary="One item", dependencies=[requires("reader")])
def get_item(place: _ItemId, review: Review) -> dict[str, Any]:
    """Return an item."""
    return review.store.queue.get(place).to_json()


@router.get(
    "/places/{place}/picture.png", summary="Picture of a region", response_class=Response, dependencies=[requires("reader"), LONG]
)
def picture(place: _ItemId, review: Review) -> Response:
    """Send a picture: the image projected along z, without and with the outline of the current mask."""
    item = review.store.queue.get(place)
    drawn = region_picture(review.contexts.get(item.image_id).image, review.mask(item.image_id)[0], item.region)
    return Response(png_bytes(drawn), media_type="image/png")


@router.get("/places/{place}/errors", summary="Errors suspected in a region", dependencies=[requires("reader"), LONG])
def errors(place: _ItemId, review: Review) -> dict[str, Any]:
    """Return what may be wrong inside the region, the worst first, with centre lines in voxels (IJK), and the probabilities.

    ``probability`` is base64 of zlib of one byte a voxel of the region's box, K fastest: 0 is 0, 255 is 1. The list is
    empty where the model is uncertain but no branch is suspected. A seat shows none of it in a random check.
    """
    item = review.store.queue.get(place)
    context = review.contexts.get(item.image_id)
    suspected = suspected_errors(context.analysis, item.region.box)
    probability = np.rint(context.probability[item.region.box.slices].astype(np.float32) * 255).astype(np.uint8)
    packed = base64.b64encode(zlib.compress(probability.tobytes())).decode()
    return {"errors": [error.to_json() for error in suspected[:SUSPECTED_LIMIT]], "probability": packed}


@router.post("/places/{place}/answer", summary="Answer an item", dependencies=[requires("annotator")])
def answer(
    place: _ItemId,
    account: CurrentAccount,
    review: Review,
    drafts: UserDrafts,
    jobs: RunningJobs,
    background: BackgroundTasks,
    verdict: Annotated[Verdict, Form()],
    seconds: Annotated[float | None, Form(ge=0, le=86400)] = None,
    note: Annotated[str, Form(max_length=NOTE_LENGTH, description="For the others: why it was skipped, what to look at.")] = "",
    model: Annotated[str, Form(max_length=64, description="`model` of the image's state, whose mask was shown.")] = "",
    label: UploadFile | None = None,
) -> dict[str, Any]:
    """Answer an item: the mask is right (``accepted``), was corrected (``fixed``), or somebody else should look (``skipped``).

    With ``fixed``, the voxels of the region are those of the label that is sent along (NIfTI or NRRD of the whole image), or of
    the user's draft. No later prediction changes voxels that were accepted or corrected. 409 where another model has predicted
    the image since the mask was shown: nobody accepts what they have not seen.
    """
    queue = review.store.queue
    is_repeated = queue.is_answered_as(place, verdict, actor=account.name)  # the first reply was lost
    corrected = None if label is None else _corrected_voxels(review, queue.get(place), label)
    if is_repeated:
        queue.is_answered_as(place, verdict, actor=account.name, sent="" if corrected is None else hash_of(corrected))
        return queue.get(place).to_json()
    if label is None and verdict == "fixed":
        item = queue.get(place)
        review.refuse_outdated(item, model)  # the draft is applied to the prediction of the newest model
        corrected = drafts.corrected_in(item.image_id, account.name, item.region.box)
    answered = review.answer(
        place,
        verdict,
        actor=account.name,
        corrected=corrected,
        seconds=seconds,
        note=note,
        shown_model=model,
        run_later=background.add_task,
    )
    if review.queue_builder.should_rerank(answered):
        _rerank_in_background(review, jobs, answered.image_id)
    return answered.to_json()


@router.delete("/places/{place}/answer", summary="Withdraw an answer", dependencies=[requires("annotator")])
def reopen(place: _ItemId, account: CurrentAccount, review: Review, take: bool = False) -> dict[str, Any]:
    """Make an item pending again: after one's own answer, or with the role reviewer after any answer.

    With ``take`` it is reserved at once for whoever withdraws it, so that a ranking that ends meanwhile does not replace it.
    """
    item = review.store.queue.get(place)
    if item.answer and item.holder != account.name and not account.has_role("reviewer"):
        raise HTTPException(403, "This answer is that of another user. Withdrawing it needs the role reviewer.")
    return review.reopen(place, actor=account.name, reserve_s=LEASE_S if take else 0.0).to_json()


@router.post("/places/{place}/take", summary="Reserve a certain item", dependencies=[requires("annotator")])
def take(place: _ItemId, account: CurrentAccount, review: Review) -> dict[str, Any]:
    """Reserve an item that was chosen from the list for 15 minutes; 409 when it is reserved for another user."""
    return review.store.queue.take(place, account.name, seconds=LEASE_S).to_json()


@router.post("/places/{place}/release", summary="End a reservation", dependencies=[requires("annotator")])
def release(place: _ItemId, account: CurrentAccount, review: Review) -> dict[str, Any]:
    """End the reservation of an item without an answer."""
    review.store.queue.release(place, account.name)
    return review.store.queue.get(place).to_json()


def _rerank_in_background(review: ReviewService, jobs: Jobs, image_id: str) -> None:
    """Rank the remaining regions of an image again while annotators go on."""
    if any(job.subject == image_id for job in jobs.open("ranking")):
        return
    job = Job.from_request("ranking", image_id, {}, urgency=Urgency.BATCH, actor="server")

    def work() -> dict[str, Any]:
        with job.hold_lock("ranking"):
            return {"places": len(review.queue_builder.rebuild(image_id, actor="server").regions)}

    try:
        jobs.start(job, work)
    except BusyError:  # after the next answer
        return


def _corrected_voxels(review: ReviewService, item: QueueItem, upload: UploadFile) -> NDArray[np.bool_]:
    suffix = suffix_of(File(upload.filename or "")) or ".nii.gz"
    with tempfile.TemporaryDirectory(prefix="minivess_download.") as folder:
        path = File(folder) / f"label{suffix}"
        with path.open("wb") as file:
            while chunk := upload.file.read(2**20):
                file.write(chunk)
        store, image = review.store, review.contexts.get(item.image_id).image
        label = check_label(path, image, labels=store.labels, may_be_empty=True, unit=store.unit)
    return np.asarray(label.volume.array[item.region.box.slices] > 0)
