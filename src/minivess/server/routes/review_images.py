"""One image under review: grid and progress, queue, uncertainty map and mask. ``/review/images/IMAGE``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from minivess.errors import NotFoundError
from minivess.review.context import ReviewContext
from minivess.review.progress import review_progress
from minivess.review.region_selection import Objective
from minivess.review.service import ReviewService
from minivess.server.dependencies import CHECKED_IMAGE, LONG, CurrentAccount, Review, volume_response
from minivess.server.roles import requires

router = APIRouter(prefix="/review/images/{image}", tags=["Review"], dependencies=[CHECKED_IMAGE])
Suffix = Literal["nrrd", "nii.gz"]


@router.get("", summary="Grid and progress of an image", dependencies=[requires("reader")])
def state(image: str, review: Review) -> dict[str, Any]:
    """Return grid, progress, number of the current label (``If-Match`` of a submission), and advice.

    ``affine_ras`` maps voxels (IJK) to RAS in ``unit``, as ``centre_ras`` of regions. ``predicted`` says whether there is a
    prediction of the image as it is now, ``model`` by which weights (SHA-256), ``newer_model`` whether another model is
    published since, ``model_before`` whether there is a prediction of another model to compare with (``mask_before``).
    """
    head, context = review.store.head(image), _context(review, image)
    volume = context.image if context else review.read(image)
    share_of_errors = context.share_of_errors if context else lambda _: 0.0
    model = context.weights_sha256 if context else ""
    items = review.store.queue.all(image, limit=-1)[0]
    return {
        "image": image,
        "shape": volume.shape,
        "affine_ras": volume.affine.tolist(),
        "unit": volume.unit,
        "spacing_um": volume.spacing_um,
        "revision": head.number if head else None,
        "predicted": context is not None,
        "model": model,
        "newer_model": review.has_newer_model(image),
        "model_before": review.predictions.has_mask_before(image),
        "progress": review_progress(items, share_of_errors, model=model).to_json(),
        **(review.advice(image) if context else {"retrain_first": "", "quality": "", "zones": ""}),
    }


def _context(review: ReviewService, image: str) -> ReviewContext | None:
    """Return an image with its prediction; None where there is none, or that of a file that was replaced since."""
    try:
        return review.contexts.get(image) if review.predictions.weights_sha256(image) else None
    except NotFoundError:
        return None


@router.get("/volume", summary="The image", response_class=FileResponse, dependencies=[requires("reader"), LONG])
def volume(image: str, review: Review, format: Suffix = "nrrd") -> FileResponse:
    """Send the image in a format that every viewer reads; its voxel order is that of boxes and clicks."""
    return volume_response(review.read(image), image, format)


@router.post("/queue", summary="Rank the regions of an image again", dependencies=[requires("annotator"), LONG])
def rebuild_queue(
    image: str,
    account: CurrentAccount,
    review: Review,
    count: Annotated[int, Query(ge=1, le=1000)] = 100,
    order: Annotated[Objective, Query(description="Most errors per decision (mass), or per volume (density).")] = "mass",
) -> dict[str, Any]:
    """Build a new queue from the last prediction and all answers so far; answered items stay answered."""
    proposal = review.queue_builder.rebuild(image, actor=account.name, count=count, objective=order)
    return {
        "places": len(proposal.regions),
        "ranked_by": proposal.ranked_by,
        "errors_per_predicted_voxel": proposal.errors_per_predicted_voxel,
        "retrain_first": proposal.retrain_first,
    }


@router.get("/heat", summary="Uncertainty map", response_class=FileResponse, dependencies=[requires("reader"), LONG])
def uncertainty_map(image: str, review: Review, format: Suffix = "nrrd") -> FileResponse:
    """Send the entropy of the last prediction in nats, float32 on the image's grid."""
    return volume_response(review.entropy(image), f"{image}-entropy", format)


@router.get("/mask", summary="Current mask", response_class=FileResponse, dependencies=[requires("reader"), LONG])
def mask(image: str, review: Review, format: Suffix = "nrrd") -> FileResponse:
    """Send the last prediction with the accepted regions applied, on the image's grid."""
    return volume_response(review.mask(image)[0], f"{image}-mask", format)


@router.get(
    "/mask_before", summary="Mask of the model before", response_class=FileResponse, dependencies=[requires("reader"), LONG]
)
def mask_before(image: str, review: Review, format: Suffix = "nrrd") -> FileResponse:
    """Send what the model before the present one has predicted, on the image's grid, to compare both."""
    return volume_response(review.mask_before(image), f"{image}-mask-before", format)
