"""The prompts by name, with the clicks that each takes: for whoever asks over a wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minivess.errors import InputError
from minivess.review.edits import Mode
from minivess.review.places import GLANCE_UM
from minivess.review.prompts import Change, Point, Scene, connect, cut, grow, path, remove_branch
from minivess.review.region import Box


@dataclass(frozen=True)
class Tool:
    """A prompt.

    Attributes:
        words: What it does, in a sentence.
        clicks: How many clicks it needs; more of them do it again.
        mode: What happens with its voxels unless something else is asked for.
        run: Gives the voxels of some clicks, inside a box where it needs one.
    """

    words: str
    clicks: int
    mode: Mode
    run: Callable[[Scene, Sequence[Point], Box | None], list[Change]]


TOOLS: dict[str, Tool] = {
    "path": Tool(
        "Traces a vessel from click to click.", 2, "add", lambda scene, at, _: [path(scene, a, b) for a, b in pairwise(at)]
    ),
    "connect": Tool(
        "Joins two drawn ends, one pair of clicks after the other.",
        2,
        "add",
        lambda scene, at, _: [connect(scene, a, b) for a, b in zip(at[::2], at[1::2], strict=False)],
    ),
    "cut": Tool("Parts a vessel at each click.", 1, "remove", lambda scene, at, _: [cut(scene, a) for a in at]),
    "remove": Tool(
        "Takes away the branch at each click.", 1, "remove", lambda scene, at, _: [remove_branch(scene, a) for a in at]
    ),
    "grow": Tool(
        "Fills what hangs together with each click, within the place.",
        1,
        "add",
        lambda scene, at, box: [grow(scene, a, box or _around(scene, a)) for a in at],
    ),
}


def use(tool: str, scene: Scene, points: Sequence[Point], box: Box | None = None) -> Change:
    """Give the voxels that a prompt is about.

    Args:
        tool: Key of :data:`TOOLS`.
        scene: What is there.
        points: Voxels that were clicked on, in order.
        box: The place that is worked at, if any.

    Raises:
        InputError: When there is no such tool, too few clicks, or they mean nothing there.
    """
    if tool not in TOOLS:
        raise InputError(f"There is no tool {tool[:40]!r}. Allowed: {', '.join(TOOLS)}.")
    needed = TOOLS[tool].clicks
    if len(points) < needed:
        raise InputError(f"{tool} needs {needed} clicks. Got {len(points)}.")
    return _together(TOOLS[tool].run(scene, points, box))


def _around(scene: Scene, point: Point) -> Box:
    """As much as is taken in at a glance, with a click in its middle."""
    reach = np.ceil(np.asarray(GLANCE_UM["mass"]) / scene.spacing_um / 2).astype(int)
    low, high = np.maximum(np.asarray(point) - reach, 0), np.minimum(np.asarray(point) + reach + 1, scene.mask.shape)
    x0, y0, z0, x1, y1, z1 = (int(v) for v in (*low, *high))
    return x0, x1, y0, y1, z0, z1


def _together(changes: list[Change]) -> Change:
    """Put several changes in one window, so that they are one step."""
    if len(changes) == 1:
        return changes[0]
    low = np.min([change.at for change in changes], axis=0)
    high = np.max([np.add(change.at, change.voxels.shape) for change in changes], axis=0)
    voxels = np.zeros(high - low, bool)
    for change in changes:
        start = np.asarray(change.at) - low
        voxels[tuple(slice(a, a + n) for a, n in zip(start, change.voxels.shape, strict=True))] |= change.voxels
    x, y, z = (int(v) for v in low)
    return Change(voxels, (x, y, z))
