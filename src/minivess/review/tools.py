"""The prompts by name, with the number of clicks that each needs: for HTTP and MONAI Label clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from minivess.errors import InputError
from minivess.jobs import current_job
from minivess.models.segmenter import PromptKind
from minivess.review.edits import Mode
from minivess.review.prompts import (
    MaskChange,
    Point,
    PromptContext,
    connect,
    cut,
    grow,
    path,
    remove_branch,
    segment_in_box,
    segment_object,
)
from minivess.review.region_selection import REGION_SIZE_UM
from minivess.review.smooth import smooth
from minivess.review.specks import remove_specks
from minivess.volume import Box

Item = TypeVar("Item")


@dataclass(frozen=True)
class Tool:
    """A prompt.

    Attributes:
        description: What it does, in a sentence.
        clicks: Number of clicks that it needs; more clicks run it again.
        mode: What happens with its voxels unless another mode is given.
        run: Computes the changes for clicks, inside a box where the prompt needs one.
        asks: Kind of prompt that it sends to a model; None where it needs none.
    """

    description: str
    clicks: int
    mode: Mode
    run: Callable[[PromptContext, Sequence[Point], Box | None], list[MaskChange]]
    asks: PromptKind | None = None


TOOLS: dict[str, Tool] = {
    "path": Tool(
        "Traces a vessel from click to click.",
        2,
        "add",
        lambda context, points, _: [path(context, a, b) for a, b in _steps(pairwise(points))],
    ),
    "connect": Tool(
        "Connects two ends of vessels of the mask, one pair of clicks after the other.",
        2,
        "add",
        lambda context, points, _: [connect(context, *pair) for pair in _steps(_pairs(points))],
    ),
    "cut": Tool(
        "Cuts a vessel at each click.",
        1,
        "remove",
        lambda context, points, _: [cut(context, point) for point in _steps(points)],
    ),
    "remove": Tool(
        "Removes the branch at each click.",
        1,
        "remove",
        lambda context, points, _: [remove_branch(context, point) for point in _steps(points)],
    ),
    "specks": Tool(
        "Removes the loose piece at each click, and all loose pieces in the region that are not larger.",
        1,
        "remove",
        lambda context, points, box: [remove_specks(context, point, box) for point in _steps(points)],
    ),
    "object": Tool(
        "Segments the vessel at the clicks by the model.",
        1,
        "add",
        lambda context, points, _: [segment_object(context, points)],
        asks="point",
    ),
    "box": Tool(
        "Segments the vessel inside a box by the model: two clicks are opposite corners.",
        2,
        "add",
        lambda context, points, _: [segment_in_box(context, *pair) for pair in _steps(_pairs(points))],
        asks="box",
    ),
    "grow": Tool(
        "Fills what is connected to each click, inside the region.",
        1,
        "add",
        lambda context, points, box: [grow(context, point, box or _box_around(context, point)) for point in _steps(points)],
    ),
    "smooth": Tool(
        "Smooths the outline of the vessels in the region of a click; thin vessels stay.",
        1,
        "replace",
        lambda context, points, box: [smooth(context, points[-1], box or _box_around(context, points[-1]))],
    ),
}


def run_tool(tool: str, context: PromptContext, points: Sequence[Point], box: Box | None = None) -> MaskChange:
    """Compute the voxels that a prompt is about.

    Args:
        tool: Key of :data:`TOOLS`.
        context: Mask, probability and image.
        points: Voxels that were clicked, in order.
        box: The region that is corrected, if any.

    Raises:
        InputError: When there is no such tool, there are too few clicks, or the tool finds no vessel at a click.
    """
    if tool not in TOOLS:
        raise InputError(f"There is no tool {tool[:40]!r}. Allowed: {', '.join(TOOLS)}.")
    needed = TOOLS[tool].clicks
    if len(points) < needed:
        raise InputError(f"The tool {tool} needs {needed} clicks. Got {len(points)}.")
    return _merge(TOOLS[tool].run(context, points, box))


def _pairs(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Return the first and second click, the third and fourth, ..."""
    return zip(points[::2], points[1::2], strict=False)


def _steps(items: Iterable[Item]) -> Iterator[Item]:
    """Iterate over the clicks of a prompt; a job that was stopped or has exceeded its time limit ends between two of them."""
    return current_job().parts(list(items), "click")


def _box_around(context: PromptContext, point: Point) -> Box:
    """Return a box of the size of a region with a click in its middle."""
    reach = np.ceil(np.asarray(REGION_SIZE_UM["mass"]) / context.spacing_um / 2).astype(int)
    return Box.from_corners(point, np.add(point, 1)).grown(reach, context.mask.shape)


def _merge(changes: list[MaskChange]) -> MaskChange:
    """Join several changes in one window, so that they are one step."""
    if len(changes) == 1:
        return changes[0]
    low = np.min([change.start for change in changes], axis=0)
    high = np.max([np.add(change.start, change.voxels.shape) for change in changes], axis=0)
    whole = Box.from_corners(low, high)
    voxels = np.zeros(whole.shape, bool)
    for change in changes:
        window = Box.from_corners(change.start, np.add(change.start, change.voxels.shape))
        voxels[window.relative_to(whole.low).slices] |= change.voxels
    return MaskChange(voxels, whole.low)
