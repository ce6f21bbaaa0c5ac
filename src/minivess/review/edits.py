"""A mask under a person's hands: every step can be undone, and what is locked never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.review.accepted import as_box, pack, unpack
from minivess.review.region import Box, slices_of

#: ``"add"`` draws vessel, ``"remove"`` erases it, ``"replace"`` makes a window hold exactly what is given.
Mode = Literal["add", "remove", "replace"]


@dataclass(frozen=True)
class Step:
    """What one step asked for, and what it changed: packed bits of a box, so that it costs what it touches.

    Attributes:
        name: What was done.
        box: Where.
        vessel: Voxels of the box that the step makes vessel.
        background: Voxels that it makes background.
        by_hand: Whether a person drew them: prompts leave such voxels alone.
        flipped: Voxels that it did change.
        voxels: How many it changed.
    """

    name: str
    box: Box
    vessel: str
    background: str
    by_hand: bool
    flipped: str = ""
    voxels: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the box along x, y, z."""
        x0, x1, y0, y1, z0, z1 = self.box
        return x1 - x0, y1 - y0, z1 - z0

    def to_json(self) -> dict[str, Any]:
        """Give what is needed to do it again."""
        return {
            "name": self.name,
            "box": list(self.box),
            "vessel": self.vessel,
            "background": self.background,
            "by_hand": self.by_hand,
        }

    @staticmethod
    def of_json(value: dict[str, Any]) -> Step:
        """Read what :meth:`to_json` gave."""
        return Step(value["name"], as_box(value["box"]), value["vessel"], value["background"], value["by_hand"])


class Edits:
    """A mask and the steps that made it; a step costs as much memory as it touches, not a copy of the volume."""

    def __init__(self, mask: NDArray[np.bool_], locked: NDArray[np.bool_] | None = None, steps: Sequence[Step] = ()) -> None:
        """Take a mask (x, y, z), which is copied, which of its voxels must stay as they are, and steps to do on it.

        Raises:
            InputError: When the masks do not lie on one grid.
        """
        self.mask = mask.astype(bool, copy=True)
        self.locked = np.zeros(mask.shape, bool) if locked is None else locked.astype(bool, copy=True)
        if self.locked.shape != self.mask.shape:
            raise InputError(f"Locked voxels lie on the mask's grid of {self.mask.shape}. Got {self.locked.shape}.")
        self.done: list[Step] = []
        self.undone: list[Step] = []
        for step in steps:
            self._do(step)

    def apply(
        self,
        change: NDArray[np.bool_],
        at: tuple[int, int, int],
        mode: Mode,
        name: str,
        *,
        by_hand: bool = False,
        within: Box | None = None,
    ) -> Step | None:
        """Change the mask, but for locked voxels; what was undone before can no longer be redone.

        Args:
            change: (x, y, z) voxels that the step is about.
            at: Where its first voxel lies in the mask.
            mode: What to do with them.
            name: What to call the step.
            by_hand: Whether a person drew it: no prompt changes these voxels any more, other strokes do.
            within: Nothing outside this box changes.

        Returns:
            The step; None where nothing changed.

        Raises:
            InputError: When the change does not lie in the mask, or the mode is unknown.
        """
        if mode not in get_args(Mode):
            raise InputError(f"A mode is add, remove or replace. Got {mode!r}.")
        box = self._box(change, at)
        vessel = change.astype(bool) if mode != "remove" else np.zeros(change.shape, bool)
        background = {"add": np.zeros(change.shape, bool), "remove": change, "replace": ~change}[mode]
        touched = (vessel | background) & _inside(box, within)
        if by_hand:  # what was there already was not drawn
            touched &= vessel != self.mask[slices_of(box)]
        if not touched.any():
            return None
        tight = _tight(touched, box)
        inner = tuple(slice(a - o, b - o) for a, b, o in zip(tight[::2], tight[1::2], box[::2], strict=True))
        planned = Step(name, tight, pack((vessel & touched)[inner]), pack((background & touched)[inner]), by_hand)
        if self._flips(planned).any():
            self.undone.clear()
            return self._do(planned)
        return None

    def undo(self) -> Step | None:
        """Take back the last step that shows; None where there is none.

        Steps that lie in what was accepted meanwhile stay: they show again where that answer is taken back.
        """
        for at in reversed(range(len(self.done))):
            step = self.done[at]
            flips = self._unlocked(step)
            if flips.any():
                self.mask[slices_of(step.box)] ^= flips
                self.undone.append(self.done.pop(at))
                return step
        return None

    def shows(self, step: Step) -> bool:
        """Tell whether a step changed anything that was not accepted since."""
        return bool(self._unlocked(step).any())

    def _unlocked(self, step: Step) -> NDArray[np.bool_]:
        return np.asarray(unpack(step.flipped, step.shape) & ~self.locked[slices_of(step.box)])

    def redo(self) -> Step | None:
        """Do again what was taken back last; None where there is none."""
        while self.undone:
            step = self._do(self.undone.pop())
            if step.voxels:
                return step
        return None

    def lock(self, box: Box) -> None:
        """Keep the voxels of a box, vessel or not, as they are from now on."""
        self.locked[slices_of(box)] = True

    def _do(self, step: Step) -> Step:
        flips = self._flips(step)
        self.mask[slices_of(step.box)] ^= flips
        self.done.append(replace(step, flipped=pack(flips), voxels=int(flips.sum())))
        return self.done[-1]

    def _flips(self, step: Step) -> NDArray[np.bool_]:
        window = slices_of(step.box)
        before, free = self.mask[window], ~self.locked[window]
        if not step.by_hand:
            free &= ~self._drawn(step.box)
        vessel, background = (unpack(bits, step.shape) for bits in (step.vessel, step.background))
        return np.asarray(((vessel & ~before) | (background & before)) & free)

    def _drawn(self, box: Box) -> NDArray[np.bool_]:
        """Say which voxels of a box a person has drawn."""
        low, shape = np.array(box[::2]), np.array(box[1::2]) - np.array(box[::2])
        drawn = np.zeros(shape, bool)
        for step in self.done:
            start, stop = np.maximum(low, step.box[::2]), np.minimum(box[1::2], step.box[1::2])
            if step.by_hand and (start < stop).all():
                here = tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))
                there = tuple(slice(a, b) for a, b in zip(start - step.box[::2], stop - step.box[::2], strict=True))
                drawn[here] |= (unpack(step.vessel, step.shape) | unpack(step.background, step.shape))[there]
        return drawn

    def _box(self, change: NDArray[np.bool_], at: tuple[int, int, int]) -> Box:
        low = np.asarray(at)
        high = low + change.shape
        if change.ndim != 3 or (low < 0).any() or (high > self.mask.shape).any():
            raise InputError(f"A change lies inside the mask of {self.mask.shape} voxels. Got {change.shape} at {tuple(at)}.")
        x0, y0, z0, x1, y1, z1 = (int(v) for v in (*low, *high))
        return x0, x1, y0, y1, z0, z1


def _inside(box: Box, within: Box | None) -> NDArray[np.bool_]:
    """Say which voxels of a box lie in another; all, where there is none."""
    inside = np.zeros(tuple(b - a for a, b in zip(box[::2], box[1::2], strict=True)), bool)
    limits = within or box
    bounds = zip(limits[::2], limits[1::2], box[::2], strict=True)
    inside[tuple(slice(max(0, a - o), max(0, b - o)) for a, b, o in bounds)] = True
    return inside


def _tight(flips: NDArray[np.bool_], box: Box) -> Box:
    """Shrink a box to the voxels that are set in it."""
    bounds: list[int] = []
    for axis in range(3):
        hit = np.flatnonzero(flips.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds += [box[2 * axis] + int(hit[0]), box[2 * axis] + int(hit[-1]) + 1]
    x0, x1, y0, y1, z0, z1 = bounds
    return x0, x1, y0, y1, z0, z1
