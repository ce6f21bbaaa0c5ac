"""Edits of a mask: every step can be undone, and locked voxels never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.review.mask_codec import pack_mask, unpack_mask
from minivess.volume import Box

#: ``"add"`` sets vessel, ``"remove"`` sets background, ``"replace"`` makes a window equal to the given voxels.
Mode = Literal["add", "remove", "replace"]


@dataclass(frozen=True)
class EditStep:
    """One step: what it asked for and what it changed. Masks are packed, so that it needs only the memory of its box.

    Attributes:
        name: What was done, for example a tool's name.
        box: Voxels that it is about.
        vessel: Packed mask of the box: voxels that the step sets to vessel.
        background: Packed mask of the box: voxels that it sets to background.
        by_hand: Whether the annotator drew these voxels; prompts do not change such voxels.
        flipped: Packed mask of the box: voxels that the step changed.
        voxels: Number of voxels that it changed.
    """

    name: str
    box: Box
    vessel: str
    background: str
    by_hand: bool
    flipped: str = ""
    voxels: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what is needed to apply the step again."""
        return {
            "name": self.name,
            "box": list(self.box),
            "vessel": self.vessel,
            "background": self.background,
            "by_hand": self.by_hand,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> EditStep:
        """Read the values of :meth:`to_json`."""
        return EditStep(value["name"], Box.from_json(value["box"]), value["vessel"], value["background"], value["by_hand"])


class Edits:
    """A mask and the steps that changed it."""

    def __init__(self, mask: NDArray[np.bool_], locked: NDArray[np.bool_] | None = None, steps: Sequence[EditStep] = ()) -> None:
        """Copy a mask and apply steps to it.

        Args:
            mask: (x, y, z) bool.
            locked: (x, y, z) bool, voxels that must not change; none by default.
            steps: Steps to apply, the oldest first.

        Raises:
            InputError: When the masks differ in shape.
        """
        self.mask = mask.astype(bool, copy=True)
        self.locked = np.zeros(mask.shape, bool) if locked is None else locked.astype(bool, copy=True)
        if self.locked.shape != self.mask.shape:
            raise InputError(f"The mask of locked voxels has the shape of the mask, {self.mask.shape}. Got {self.locked.shape}.")
        self.done: list[EditStep] = []
        self.undone: list[EditStep] = []
        for step in steps:
            self._apply_step(step)

    def apply(
        self,
        voxels: NDArray[np.bool_],
        start: tuple[int, int, int],
        mode: Mode,
        name: str,
        *,
        by_hand: bool = False,
        within: Box | None = None,
    ) -> EditStep | None:
        """Change the mask except locked voxels; steps that were undone can no longer be redone.

        Args:
            voxels: (x, y, z) bool, voxels that the step is about, in a window of the mask.
            start: First voxel (x, y, z) of the window in the mask.
            mode: What to do with them.
            name: Name of the step.
            by_hand: Whether the annotator drew them: prompts no longer change these voxels, later strokes do.
            within: No voxel outside this box changes.

        Returns:
            The step; None when nothing changed.

        Raises:
            InputError: When the window is not inside the mask, or the mode is unknown.
        """
        if mode not in get_args(Mode):
            raise InputError(f"A mode is one of {', '.join(get_args(Mode))}. Got {mode!r}.")
        box = self._window(voxels, start)
        vessel = voxels.astype(bool) if mode != "remove" else np.zeros(voxels.shape, bool)
        background = {"add": np.zeros(voxels.shape, bool), "remove": voxels, "replace": ~voxels}[mode]
        touched = (vessel | background) & _inside(box, within)
        if by_hand:  # a voxel that had this value already was not drawn
            touched &= vessel != self.mask[box.slices]
        tight = Box.around(touched)
        if tight is None:
            return None
        planned = EditStep(
            name,
            tight.shifted(box.low),
            pack_mask((vessel & touched)[tight.slices]),
            pack_mask((background & touched)[tight.slices]),
            by_hand,
        )
        if self._flips(planned).any():
            self.undone.clear()
            return self._apply_step(planned)
        return None

    def undo(self) -> EditStep | None:
        """Undo the last visible step and return it; None when there is none.

        Steps inside regions that were accepted later stay: they are visible again when that answer is withdrawn.
        """
        for index in reversed(range(len(self.done))):
            step = self.done[index]
            flips = self._unlocked_flips(step)
            if flips.any():
                self.mask[step.box.slices] ^= flips
                self.undone.append(self.done.pop(index))
                return step
        return None

    def redo(self) -> EditStep | None:
        """Apply the step that was undone last again and return it; None when there is none."""
        while self.undone:
            step = self._apply_step(self.undone.pop())
            if step.voxels:
                return step
        return None

    def is_visible(self, step: EditStep) -> bool:
        """Return whether a step changed voxels that were not accepted later."""
        return bool(self._unlocked_flips(step).any())

    def _unlocked_flips(self, step: EditStep) -> NDArray[np.bool_]:
        return np.asarray(unpack_mask(step.flipped, step.box.shape) & ~self.locked[step.box.slices])

    def _apply_step(self, step: EditStep) -> EditStep:
        flips = self._flips(step)
        self.mask[step.box.slices] ^= flips
        self.done.append(replace(step, flipped=pack_mask(flips), voxels=int(flips.sum())))
        return self.done[-1]

    def _flips(self, step: EditStep) -> NDArray[np.bool_]:
        window = step.box.slices
        before, free = self.mask[window], ~self.locked[window]
        if not step.by_hand:
            free &= ~self._drawn_by_hand(step.box)
        vessel, background = (unpack_mask(bits, step.box.shape) for bits in (step.vessel, step.background))
        return np.asarray(((vessel & ~before) | (background & before)) & free)

    def _drawn_by_hand(self, box: Box) -> NDArray[np.bool_]:
        drawn = np.zeros(box.shape, bool)
        for step in self.done:
            common = step.box.intersect(box) if step.by_hand else None
            if common is not None:
                touched = unpack_mask(step.vessel, step.box.shape) | unpack_mask(step.background, step.box.shape)
                drawn[common.relative_to(box.low).slices] |= touched[common.relative_to(step.box.low).slices]
        return drawn

    def _window(self, voxels: NDArray[np.bool_], start: tuple[int, int, int]) -> Box:
        if voxels.ndim == 3:
            box = Box.from_corners(start, np.add(start, voxels.shape))
            if min(start) >= 0 and all(stop <= n for stop, n in zip(box.high, self.mask.shape, strict=True)):
                return box
        raise InputError(f"An edit must be inside the mask of {self.mask.shape} voxels. Got {voxels.shape} at {tuple(start)}.")


def _inside(box: Box, within: Box | None) -> NDArray[np.bool_]:
    """Return which voxels of a box are in another one; all, when there is none."""
    inside = np.zeros(box.shape, bool)
    common = box.intersect(within) if within else box
    if common is not None:
        inside[common.relative_to(box.low).slices] = True
    return inside
