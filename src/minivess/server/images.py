"""One image under review: its grid and how far its review is, its queue, heat map and mask. ``/review/images/IMAGE``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from minivess.review.progress import progress_of
from minivess.server.desk import name_of, the_desk, volume_file

router = APIRouter(prefix="/review/images/{image}", tags=["Review"])
Suffix = Literal["nrrd", "nii.gz"]


@router.get("", summary="How the review of an image stands")
def standing(image: str) -> dict[str, Any]:
    """Tell the grid, the progress, the number of the label that counts (``If-Match`` of a submission), and advice.

    ``affine_ras`` takes voxels (IJK) to RAS in ``unit``, as ``centre_ras`` of places; ``predicted``: a model was asked.
    """
    desk = the_desk()
    predicted, head = bool(desk.kept.model(image)), desk.store.head(image)
    volume = desk.sights.get(image).image if predicted else desk.read(image)
    return {
        "image": image,
        "shape": volume.shape,
        "affine_ras": volume.affine.tolist(),
        "unit": volume.unit,
        "spacing_um": volume.spacing_um,
        "revision": head.number if head else None,
        "predicted": predicted,
        "progress": asdict(progress_of(desk.store.places.all(image, limit=-1)[0])),
        **(desk.advice(image) if predicted else {"retrain_first": "", "zones": ""}),
    }


@router.get("/volume", summary="The image on its grid", response_class=FileResponse)
def volume(image: str, format: Suffix = "nrrd") -> FileResponse:
    """Send the image in a format that every viewer reads, its voxels in the order that boxes and clicks count in."""
    return volume_file(the_desk().read(image), image, format)


@router.post("/queue", summary="Rank the places of an image again")
def refill(
    image: str,
    request: Request,
    count: Annotated[int, Query(ge=1, le=1000)] = 100,
    order: Annotated[Literal["mass", "density"], Query(description="Most errors per decision, or per volume.")] = "mass",
) -> dict[str, Any]:
    """Ask about places again, from the last prediction and all answers so far; answered places stay answered."""
    proposal = the_desk().fill(image, actor=name_of(request), count=count, order=order)
    return {
        "places": len(proposal.regions),
        "ranked_by": proposal.ranked_by,
        "errors_per_predicted_voxel": proposal.errors_per_predicted_voxel,
        "retrain_first": proposal.retrain_first,
    }


@router.get("/heat", summary="Where the model is unsure", response_class=FileResponse)
def heat(image: str, format: Suffix = "nrrd") -> FileResponse:
    """Send the entropy of the last prediction in nats, float32 on the image's grid."""
    desk = the_desk()
    return volume_file(desk.entropy(image), f"{image}-entropy", format)


@router.get("/mask", summary="What counts as vessel now", response_class=FileResponse)
def mask(image: str, format: Suffix = "nrrd") -> FileResponse:
    """Send the last prediction, laid under what was accepted, on the image's grid."""
    return volume_file(the_desk().mask(image)[0], f"{image}-mask", format)
