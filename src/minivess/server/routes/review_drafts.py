"""The draft of the current user: prompts, strokes and undo. ``/review/images/IMAGE/draft``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from minivess.errors import ConflictError, InputError, NotFoundError
from minivess.jobs import Job, Urgency
from minivess.review.drafts import Draft
from minivess.review.edits import EditStep, Mode
from minivess.review.mask_codec import pack_mask, unpack_mask
from minivess.review.service import ReviewService
from minivess.review.tools import TOOLS
from minivess.server.dependencies import CHECKED_IMAGE, LONG, REQUEST_ID_KEY, CurrentAccount, Review, UserDrafts, volume_response
from minivess.server.request_job import run_for_client
from minivess.server.roles import requires
from minivess.server.routes.review_images import Suffix
from minivess.server.routes.review_queue import LEASE_S
from minivess.volume import Box

router = APIRouter(prefix="/review/images/{image}/draft", tags=["Review"], dependencies=[CHECKED_IMAGE])
#: Largest number of clicks of one prompt.
MAX_CLICKS = 200
#: Seconds after which a prompt ends without a change.
PROMPT_TIMEOUT_S = 60.0
_Index = Annotated[int, Field(ge=0, lt=2**31)]


class PromptRequest(BaseModel):
    """Clicks for a tool."""

    tool: Annotated[str, Field(max_length=40, json_schema_extra={"enum": list(TOOLS)})]
    points: Annotated[list[tuple[_Index, _Index, _Index]], Field(min_length=1, max_length=MAX_CLICKS, description="Voxels, IJK.")]
    mode: Annotated[Mode | None, Field(description="What to do with the voxels; the tool's own mode by default.")] = None
    place: Annotated[str, Field(max_length=300, description="No voxel outside the region of this item changes.")] = ""


class StrokeRequest(BaseModel):
    """The mask inside a box, drawn by hand: prompts no longer change these voxels."""

    box: Annotated[
        tuple[_Index, _Index, _Index, _Index, _Index, _Index], Field(description="i0, i1, j0, j1, k0, k1, ends excluded.")
    ]
    voxels: Annotated[str, Field(max_length=2**24, description="base64 of zlib of one bit a voxel, k fastest.")]
    place: Annotated[str, Field(max_length=300, description="Item whose region is drawn in: it stays reserved.")] = ""


@router.post("/prompt", summary="Trace, connect, cut, remove or grow", dependencies=[requires("annotator")])
async def prompt(
    image: str, body: PromptRequest, request: Request, account: CurrentAccount, review: Review, drafts: UserDrafts
) -> dict[str, Any]:
    """Run a tool; return the box that changed and its mask now. Accepted and hand-drawn voxels stay.

    It is a job of the kind ``prompt``, whose id is the X-Request-ID: it can be stopped, and ends after 60 s.
    """
    job = Job(
        "prompt", image, actor=account.name, timeout_s=PROMPT_TIMEOUT_S, id=request.scope[REQUEST_ID_KEY], urgency=Urgency.CLICK
    )

    def work() -> dict[str, Any]:
        box = review.store.queue.get(body.place).region.box if body.place else None
        draft = drafts.prompt(image, account.name, body.tool, body.points, mode=body.mode, box=box)
        return {**_to_json(draft), "reserved_for": _keep_reserved(review, body.place, account.name)}

    return await run_for_client(request, job, work)


@router.post("/draw", summary="Record a stroke", dependencies=[requires("annotator")])
def draw(image: str, body: StrokeRequest, account: CurrentAccount, review: Review, drafts: UserDrafts) -> dict[str, Any]:
    """Set the mask inside a box; accepted voxels stay."""
    box, shape = Box(*body.box), review.contexts.get(image).image.shape
    if not box.fits(shape):
        raise InputError(f"A box must be inside the image of {shape} voxels, with i0 < i1, j0 < j1, k0 < k1. Got {tuple(box)}.")
    draft = drafts.draw(image, account.name, box, unpack_mask(body.voxels, box.shape))
    return {**_to_json(draft), "reserved_for": _keep_reserved(review, body.place, account.name)}


def _keep_reserved(review: ReviewService, place: str, user: str) -> str:
    """Reserve the region that a user works in for another 15 minutes; return who has it instead, empty for nobody."""
    try:
        item = review.store.queue.get(place) if place else None
        if item is not None and item.state in ("pending", "leased"):
            review.store.queue.take(place, user, seconds=LEASE_S)
    except ConflictError:
        return review.store.queue.get(place).holder
    except NotFoundError:  # the answer will say so
        pass
    return ""


@router.post("/undo", summary="Undo the last step", dependencies=[requires("annotator")])
def undo(image: str, account: CurrentAccount, drafts: UserDrafts) -> dict[str, Any]:
    """Undo the last step; ``step`` is null when there is none."""
    return _to_json(drafts.undo(image, account.name))


@router.post("/redo", summary="Redo a step", dependencies=[requires("annotator")])
def redo(image: str, account: CurrentAccount, drafts: UserDrafts) -> dict[str, Any]:
    """Apply the step that was undone last again; ``step`` is null when there is none."""
    return _to_json(drafts.redo(image, account.name))


@router.get("", summary="State of the draft", dependencies=[requires("reader")])
def state(image: str, account: CurrentAccount, drafts: UserDrafts) -> dict[str, Any]:
    """Return the last step, how many can be undone and redone, and those that can be undone, the oldest first."""
    return {**_to_json(drafts.state(image, account.name)), "steps": [_about(s) for s in drafts.steps(image, account.name)]}


@router.get("/mask", summary="Current mask with the draft", response_class=FileResponse, dependencies=[requires("reader"), LONG])
def mask(image: str, account: CurrentAccount, drafts: UserDrafts, format: Suffix = "nrrd") -> FileResponse:
    """Send the last prediction with the accepted regions and the user's draft applied, on the image's grid."""
    return volume_response(drafts.mask(image, account.name), f"{image}-draft", format)


@router.delete("", summary="Discard the draft", dependencies=[requires("annotator")])
def discard(image: str, account: CurrentAccount, drafts: UserDrafts) -> dict[str, Any]:
    """Delete all steps of the user; accepted regions stay."""
    drafts.discard(image, account.name)
    return {"undo": 0, "redo": 0}


def _about(step: EditStep) -> dict[str, Any]:
    return {"name": step.name, "by_hand": step.by_hand, "voxels": step.voxels, "box": list(step.box)}


def _to_json(draft: Draft) -> dict[str, Any]:
    step = draft.step
    return {
        "step": step and _about(step),
        "holds": pack_mask(draft.voxels) if step else "",
        "undo": draft.undo,
        "redo": draft.redo,
    }
