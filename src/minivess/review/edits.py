"""A mask under a person's hands: every step can be undone, and what is locked never changes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.review.region import Box

#: ``"add"`` draws vessel, ``"remove"`` erases it, ``"replace"`` makes a box hold exactly what is given.
Mode = Literal["add", "remove", "replace"]


@dataclass(frozen=True)
class Step:
    """What one step changed: the voxels of a box that flipped, packed.

    Attributes:
        box: Where.
        flipped: Compressed bits, one a voxel of the box.
        voxels: How many flipped.
        name: What was done.
    """

    box: Box
    flipped: bytes
    voxels: int
    name: str


class Edits:
    """A mask and the steps that made it; a step costs as much memory as it changes, not a copy of the volume."""

    def __init__(self, mask: NDArray[np.bool_], locked: NDArray[np.bool_] | None = None) -> None:
        """Take a mask (x, y, z), which is copied, and which of its voxels must stay as they are.

        Raises:
            InputError: When the two do not lie on one grid.
        """
        self.mask = mask.astype(bool, copy=True)
        self.locked = np.zeros(mask.shape, bool) if locked is None else locked.astype(bool, copy=True)
        if self.locked.shape != self.mask.shape:
            raise InputError(f"Locked voxels lie on the mask's grid of {self.mask.shape}. Got {self.locked.shape}.")
        self.done: list[Step] = []
        self.undone: list[Step] = []

    def apply(self, change: NDArray[np.bool_], at: tuple[int, int, int], mode: Mode, name: str) -> Step | None:
        """Change the mask, but for locked voxels; what was undone before can no longer be redone.

        Args:
            change: (x, y, z) voxels that the step is about.
            at: Where its first voxel lies in the mask.
            mode: What to do with them.
            name: What to call the step.

        Returns:
            The step; None where nothing changed.

        Raises:
            InputError: When the change does not lie in the mask, or the mode is unknown.
        """
        box = self._box(change, at)
        window = _slices(box)
        before = self.mask[window]
        wanted = {"add": before | change, "remove": before & ~change, "replace": change}.get(mode)
        if wanted is None:
            raise InputError(f"A mode is add, remove or replace. Got {mode!r}.")
        flips = (wanted != before) & ~self.locked[window]
        if not flips.any():
            return None
        tight = _tight(flips, box)
        inner = tuple(slice(a - o, b - o) for a, b, o in zip(tight[::2], tight[1::2], box[::2], strict=True))
        flips = flips[inner]
        step = Step(tight, zlib.compress(np.packbits(flips).tobytes(), 1), int(flips.sum()), name)
        self.mask[_slices(tight)] ^= flips
        self.done.append(step)
        self.undone.clear()
        return step

    def undo(self) -> Step | None:
        """Take back the last step; None where there is none."""
        return self._move(self.done, self.undone)

    def redo(self) -> Step | None:
        """Do again what was taken back last; None where there is none."""
        return self._move(self.undone, self.done)

    def lock(self, box: Box) -> None:
        """Keep the voxels of a box, vessel or not, as they are from now on."""
        self.locked[_slices(box)] = True

    def _move(self, source: list[Step], target: list[Step]) -> Step | None:
        if not source:
            return None
        step = source.pop()
        window = _slices(step.box)
        shape = self.mask[window].shape
        bits = np.frombuffer(zlib.decompress(step.flipped), np.uint8)
        flips = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
        self.mask[window] ^= flips & ~self.locked[window]  # what was locked meanwhile stays
        target.append(step)
        return step

    def _box(self, change: NDArray[np.bool_], at: tuple[int, int, int]) -> Box:
        low = np.asarray(at)
        high = low + change.shape
        if change.ndim != 3 or (low < 0).any() or (high > self.mask.shape).any():
            raise InputError(f"A change lies inside the mask of {self.mask.shape} voxels. Got {change.shape} at {tuple(at)}.")
        x0, y0, z0, x1, y1, z1 = (int(v) for v in (*low, *high))
        return x0, x1, y0, y1, z0, z1


def _slices(box: Box) -> tuple[slice, slice, slice]:
    x0, x1, y0, y1, z0, z1 = box
    return slice(x0, x1), slice(y0, y1), slice(z0, z1)


def _tight(flips: NDArray[np.bool_], box: Box) -> Box:
    """Shrink a box to the voxels that flip."""
    bounds: list[int] = []
    for axis in range(3):
        hit = np.flatnonzero(flips.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds += [box[2 * axis] + int(hit[0]), box[2 * axis] + int(hit[-1]) + 1]
    x0, x1, y0, y1, z0, z1 = bounds
    return x0, x1, y0, y1, z0, z1
