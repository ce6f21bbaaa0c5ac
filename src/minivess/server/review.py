"""The queue of places over HTTP: ask for the next one, look at it, answer it, take the answer back. ``/review/``."""

from __future__ import annotations

import tempfile
from pathlib import Path as File
from typing import Annotated, Any, Literal, get_args

import numpy as np
from fastapi import APIRouter, BackgroundTasks, Form, HTTPException, Path, Query, Request, UploadFile
from fastapi.responses import Response
from monailabel.interfaces.utils.app import app_instance
from numpy.typing import NDArray

from minivess.errors import BusyError
from minivess.jobs import Job, Jobs, Urgency
from minivess.pictures import png_bytes
from minivess.review.desk import ReviewDesk
from minivess.review.picture import region_picture
from minivess.review.region import Region
from minivess.server.desk import name_of, the_desk, the_drafts
from minivess.store import Place
from minivess.store.submission import check_label
from minivess.volume.io import suffix_of

router = APIRouter(prefix="/review", tags=["Review"])
#: Seconds that a place stays reserved for whom it was given to.
LEASE_S = 900.0
#: Most places of one answer to a list.
LIST_LIMIT = 1000
_State = Literal["pending", "leased", "accepted", "fixed", "skipped", "obsolete"]
_Image = Annotated[str, Query(max_length=255, description="An image id; empty for all images.")]
_PlaceId = Annotated[str, Path(max_length=300, examples=["stack6:12.0"])]


@router.get("/", summary="The queue")
def places(
    image: _Image = "",
    state: Annotated[list[_State] | None, Query(description="Only places of these states.")] = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=LIST_LIMIT)] = 100,
) -> dict[str, Any]:
    """List places, the most worth a look first; ``total`` says how many there are. Obsolete ones only where asked for."""
    states = state or [s for s in get_args(_State) if s != "obsolete"]
    found, total = the_desk().store.places.all(image, states=states, offset=offset, limit=limit)
    return {"total": total, "offset": offset, "places": [place.to_json() for place in found]}


@router.post("/next", summary="The next place to look at")
def next_place(request: Request, image: _Image = "") -> dict[str, Any]:
    """Reserve the place that is most worth a look, for a quarter of an hour; ``place`` is null where none is left.

    ``retrain_first`` says why looking is of no use, where the model is too wrong for that; ``zones`` what was calibrated.
    """
    desk = the_desk()
    place = desk.store.places.next(name_of(request), seconds=LEASE_S, case_id=image)
    if place is None:
        return {"place": None}
    return {"place": place.to_json(), **desk.advice(place.case)}


@router.get("/places/{place}", summary="One place")
def one(place: _PlaceId) -> dict[str, Any]:
    """Tell of a place."""
    return the_desk().store.places.get(place).to_json()


@router.get("/places/{place}/picture.png", summary="What a place looks like", response_class=Response)
def picture(place: _PlaceId) -> Response:
    """Send a picture: the image projected along z, bare and with the outline of what counts as vessel."""
    desk = the_desk()
    found = desk.store.places.get(place)
    drawn = region_picture(desk.sights.get(found.case).image, desk.mask(found.case)[0], Region.of_json(found.region))
    return Response(png_bytes(drawn), media_type="image/png")


@router.post("/places/{place}/answer", summary="Answer a place")
def answer(
    place: _PlaceId,
    request: Request,
    background: BackgroundTasks,
    verdict: Annotated[Literal["accepted", "fixed", "skipped"], Form()],
    seconds: Annotated[float | None, Form(ge=0, le=86400)] = None,
    label: UploadFile | None = None,
) -> dict[str, Any]:
    """Answer a place: it is right, it is mended, or somebody else should look.

    With ``fixed``, the voxels of the place are taken from the label that comes with it (NIfTI or NRRD of the whole image), and
    without one from the draft of who asks. What is accepted or mended is kept under all later predictions.
    """
    desk, person = the_desk(), name_of(request)
    if desk.store.places.answered_so(place, verdict, actor=person):  # sent again, since the first reply was lost
        return desk.store.places.get(place).to_json()
    corrected = None
    if label is not None:
        corrected = _corrected(desk, desk.store.places.get(place), label)
    elif verdict == "fixed":
        found = desk.store.places.get(place)
        desk.refuse_unseen(found)  # the draft lies over what the newest model has drawn
        corrected = the_drafts().mended(found.case, person, Region.of_json(found.region).box)
    answered = desk.answer(place, verdict, actor=person, corrected=corrected, seconds=seconds, aside=background.add_task)
    if desk.may_rank_again(answered):
        _rank_aside(desk, answered.case)
    return answered.to_json()


@router.delete("/places/{place}/answer", summary="Take an answer back")
def reopen(place: _PlaceId, request: Request) -> dict[str, Any]:
    """Ask about a place again: one's own answer, or with the role reviewer anybody's."""
    desk, person = the_desk(), request.scope["minivess.person"]
    found = desk.store.places.get(place)
    if found.holder != person.name and not person.may("reviewer"):
        raise HTTPException(403, "This answer is somebody else's. Taking it back needs the role reviewer.")
    return desk.store.places.reopen(place, actor=person.name).to_json()


@router.post("/places/{place}/take", summary="Reserve this very place")
def take(place: _PlaceId, request: Request) -> dict[str, Any]:
    """Reserve a place that was chosen from the list, for a quarter of an hour; 409 where somebody else is at it."""
    return the_desk().store.places.take(place, name_of(request), seconds=LEASE_S).to_json()


@router.post("/places/{place}/release", summary="Give a place back unanswered")
def release(place: _PlaceId, request: Request) -> dict[str, Any]:
    """Let others have a place that was reserved."""
    places = the_desk().store.places
    places.release(place, name_of(request))
    return places.get(place).to_json()


def _rank_aside(desk: ReviewDesk, image: str) -> None:
    """Rank what is left of an image again by what was learned, while people go on."""
    jobs: Jobs = app_instance().jobs
    if any(job.subject == image for job in jobs.open("ranking")):
        return
    job = Job.asked("ranking", image, {}, urgency=Urgency.BATCH, actor="server")

    def work() -> dict[str, Any]:
        with job.turn("ranking"):
            return {"places": len(desk.fill(image, actor="server").regions)}

    try:
        jobs.start(job, work)
    except BusyError:  # after the next answer then
        return


def _corrected(desk: ReviewDesk, place: Place, upload: UploadFile) -> NDArray[np.bool_]:
    suffix = suffix_of(File(upload.filename or "")) or ".nii.gz"
    with tempfile.TemporaryDirectory(prefix="minivess_answer.") as folder:
        path = File(folder) / f"label{suffix}"
        with path.open("wb") as file:
            while chunk := upload.file.read(2**20):
                file.write(chunk)
        store = desk.store
        label = check_label(path, desk.sights.get(place.case).image, labels=store.labels, may_be_empty=True, unit=store.unit)
    return np.asarray(label.volume.array[Region.of_json(place.region).slices] > 0)
