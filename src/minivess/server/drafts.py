"""Prompts, strokes and undo over HTTP, on the draft of who asks: ``/review/images/IMAGE/draft``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from minivess.errors import InputError
from minivess.review.accepted import pack, unpack
from minivess.review.drafts import Draft
from minivess.review.edits import Mode
from minivess.review.region import Region
from minivess.server.desk import name_of, the_desk, the_drafts, volume_file
from minivess.server.images import Suffix

router = APIRouter(prefix="/review/images/{image}/draft", tags=["Review"])
#: Clicks of one prompt.
MAX_CLICKS = 200
_Index = Annotated[int, Field(ge=0, lt=2**31)]


class Prompt(BaseModel):
    """Clicks, and what they are to mean."""

    tool: Literal["path", "connect", "cut", "remove", "grow"]
    points: Annotated[list[tuple[_Index, _Index, _Index]], Field(min_length=1, max_length=MAX_CLICKS, description="Voxels, IJK.")]
    mode: Annotated[Mode | None, Field(description="What to do with the voxels; the tool's own way unless said.")] = None
    place: Annotated[str, Field(max_length=300, description="Nothing outside this place changes.")] = ""


class Stroke(BaseModel):
    """What a box is to hold: drawn by hand, so that no prompt changes it any more."""

    box: Annotated[
        tuple[_Index, _Index, _Index, _Index, _Index, _Index], Field(description="i0, i1, j0, j1, k0, k1, ends excluded.")
    ]
    voxels: Annotated[str, Field(max_length=2**24, description="base64 of zlib of one bit a voxel, k running fastest.")]


@router.post("/prompt", summary="Trace, connect, cut, remove or grow")
def prompt(image: str, asked: Prompt, request: Request) -> dict[str, Any]:
    """Do what clicks mean; answers with the box that changed and what it holds now. Accepted and hand-drawn voxels stay."""
    box = Region.of_json(the_desk().store.places.get(asked.place).region).box if asked.place else None
    return _told(the_drafts().prompt(image, name_of(request), asked.tool, asked.points, mode=asked.mode, box=box))


@router.post("/draw", summary="Take what was drawn by hand")
def draw(image: str, stroke: Stroke, request: Request) -> dict[str, Any]:
    """Make a box hold what was drawn; what is accepted stays."""
    shape = the_desk().sights.get(image).image.shape
    low, high = stroke.box[::2], stroke.box[1::2]
    if not all(0 <= a < b <= n for a, b, n in zip(low, high, shape, strict=True)):
        raise InputError(f"A box lies in the image of {shape} voxels, i0 < i1 and so on. Got {stroke.box}.")
    voxels = unpack(stroke.voxels, tuple(b - a for a, b in zip(low, high, strict=True)))
    return _told(the_drafts().draw(image, name_of(request), stroke.box, voxels))


@router.post("/undo", summary="Take back the last step")
def undo(image: str, request: Request) -> dict[str, Any]:
    """Take back the last step; ``step`` is null where there is none."""
    return _told(the_drafts().undo(image, name_of(request)))


@router.post("/redo", summary="Do again what was taken back")
def redo(image: str, request: Request) -> dict[str, Any]:
    """Do again what was taken back last; ``step`` is null where there is nothing."""
    return _told(the_drafts().redo(image, name_of(request)))


@router.get("", summary="How the draft stands")
def draft(image: str, request: Request) -> dict[str, Any]:
    """Tell the last step, and how many can be undone and redone."""
    return _told(the_drafts().steps(image, name_of(request)))


@router.get("/mask", summary="What counts as vessel, with the draft", response_class=FileResponse)
def mask(image: str, request: Request, format: Suffix = "nrrd") -> FileResponse:
    """Send the last prediction, under what was accepted, under the draft of who asks, on the image's grid."""
    return volume_file(the_drafts().mask(image, name_of(request)), f"{image}-draft", format)


@router.delete("", summary="Throw the draft away")
def discard(image: str, request: Request) -> dict[str, Any]:
    """Throw away all steps of who asks; accepted places stay."""
    the_drafts().discard(image, name_of(request))
    return {"undo": 0, "redo": 0}


def _told(draft: Draft) -> dict[str, Any]:
    step = draft.step
    about = step and {"name": step.name, "by_hand": step.by_hand, "voxels": step.voxels, "box": list(step.box)}
    return {"step": about, "holds": pack(draft.voxels) if step else "", "undo": draft.undo, "redo": draft.redo}
