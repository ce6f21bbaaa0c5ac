"""All images of the study, and how far each of them is. ``/review/study``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from minivess.review.service import ReviewService
from minivess.server.dependencies import App, Review
from minivess.server.error_responses import without_folders
from minivess.server.roles import requires
from minivess.store.summary import summarise_images

router = APIRouter(prefix="/review/study", tags=["Review"])
#: Largest number of images in one answer.
STUDY_LIMIT = 1000


@router.get("", summary="All images and how far they are", dependencies=[requires("reader")])
def study(
    review: Review,
    app: App,
    search: Annotated[str, Query(max_length=255, description="Only images whose id contains this, in any case.")] = "",
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=STUDY_LIMIT)] = 200,
) -> dict[str, Any]:
    """List images by id with places, answers, expected errors left, users and label; ``total`` is the number that match.

    ``predicted`` says whether there is a prediction, ``newer_model`` whether another model is published since, ``quality`` how
    good the prediction is expected to be, where that was calibrated. ``unreadable``: why the image could not be read.
    """
    ids = [image_id for image_id in review.store.images.ids() if search.lower() in image_id.lower()]
    rows = summarise_images(review.store.journal, ids[offset : offset + limit])
    unreadable = app.unreadable()
    images = [
        {**row.to_json(), **_about_prediction(review, row.image), "unreadable": without_folders(unreadable.get(row.image, ""))}
        for row in rows
    ]
    return {"total": len(ids), "offset": offset, "images": images}


def _about_prediction(review: ReviewService, image: str) -> dict[str, Any]:
    known = review.predictions
    predicted, newer = bool(known.weights_sha256(image)), review.has_newer_model(image)
    return {"predicted": predicted, "newer_model": newer, "quality": known.quality(image)}
