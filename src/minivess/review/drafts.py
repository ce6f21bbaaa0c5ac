"""What people are at: one draft for each person and image, kept on disk after every step, laid anew over each new model."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError, StoreError
from minivess.paths import write_json
from minivess.review.desk import ReviewDesk
from minivess.review.edits import Edits, Mode, Step
from minivess.review.prompts import Point, Scene
from minivess.review.region import Box, slices_of
from minivess.review.tools import TOOLS, use
from minivess.volume import Volume

#: Steps of one draft; who needs more hands in the places that are done first.
MOST_STEPS = 500
_HELD = 4


@dataclass(frozen=True, eq=False)
class Draft:
    """How a draft stands after something was done.

    Attributes:
        step: What was done; None where nothing changed.
        undo: How many steps can be undone.
        redo: How many can be redone.
        voxels: (x, y, z) what the step's box holds now.
    """

    step: Step | None
    undo: int
    redo: int
    voxels: NDArray[np.bool_]


class Drafts:
    """The drafts of all people; any number of threads may use one."""

    def __init__(self, desk: ReviewDesk, folder: Path) -> None:
        """Take the desk that they lie on, and where they are kept."""
        self._desk, self._folder = desk, folder
        self._held: OrderedDict[tuple[str, str], tuple[object, Edits]] = OrderedDict()
        self._lock = RLock()

    def prompt(
        self, image_id: str, person: str, tool: str, points: Sequence[Point], *, mode: Mode | None = None, box: Box | None = None
    ) -> Draft:
        """Do what a prompt says; locked and hand-drawn voxels stay.

        Args:
            image_id: The image.
            person: Whose draft.
            tool: Key of :data:`minivess.review.tools.TOOLS`.
            points: Voxels that were clicked on, in order.
            mode: What to do with its voxels; the tool's own mode unless said.
            box: Nothing outside changes.

        Raises:
            InputError: When the tool or mode is unknown, or the clicks mean nothing there.
            NotFoundError: When there is no such image, or no prediction of it.
        """
        with self._lock:
            edits = self._open(image_id, person)
            _refuse_too_many(edits)
            change = use(tool, self._scene(image_id, edits), points, box)
            return self._keep(
                image_id, person, edits, edits.apply(change.voxels, change.at, mode or TOOLS[tool].mode, tool, within=box)
            )

    def draw(self, image_id: str, person: str, box: Box, voxels: NDArray[np.bool_]) -> Draft:
        """Take what a person drew: what a box is to hold; prompts no longer change these voxels.

        Raises:
            InputError: When the box does not lie in the image.
            NotFoundError: When there is no such image, or no prediction of it.
        """
        with self._lock:
            edits = self._open(image_id, person)
            _refuse_too_many(edits)
            at = (box[0], box[2], box[4])
            return self._keep(image_id, person, edits, edits.apply(voxels, at, "replace", "draw", by_hand=True))

    def undo(self, image_id: str, person: str) -> Draft:
        """Take back a person's last step."""
        with self._lock:
            edits = self._open(image_id, person)
            return self._keep(image_id, person, edits, edits.undo())

    def redo(self, image_id: str, person: str) -> Draft:
        """Do again what was taken back last."""
        with self._lock:
            edits = self._open(image_id, person)
            return self._keep(image_id, person, edits, edits.redo())

    def steps(self, image_id: str, person: str) -> Draft:
        """Tell how a draft stands; the last step that shows is its ``step``."""
        with self._lock:
            edits = self._open(image_id, person)
            return _draft(edits, next((step for step in reversed(edits.done) if step.voxels), None))

    def mask(self, image_id: str, person: str) -> Volume:
        """Give what counts as vessel for a person: the prediction, under what was accepted, under the own draft."""
        with self._lock:
            mask = self._open(image_id, person).mask
            return self._desk.sights.get(image_id).image.with_array(mask.astype(np.uint8))

    def inside(self, image_id: str, person: str, box: Box) -> NDArray[np.bool_]:
        """Give what a draft holds in a box."""
        with self._lock:
            return self._open(image_id, person).mask[slices_of(box)].copy()

    def mended(self, image_id: str, person: str, box: Box) -> NDArray[np.bool_]:
        """Give what a draft has made of a box.

        Raises:
            InputError: When it has changed nothing there.
            NotFoundError: When there is no such image, or no prediction of it.
        """
        inside = self.inside(image_id, person, box)
        if (inside == (self._desk.mask(image_id)[0].array[slices_of(box)] > 0)).all():
            raise InputError("Your draft changes nothing in this place. Accept the place, or send the mended label along.")
        return inside

    def discard(self, image_id: str, person: str) -> None:
        """Throw a draft away.

        Raises:
            NotFoundError: When there is no such image.
        """
        with self._lock:
            self._desk.store.images.get(image_id)
            self._held.pop((image_id, person), None)
            self._path(image_id, person).unlink(missing_ok=True)

    def preview(self, image_id: str, person: str, prompts: Sequence[tuple[str, Sequence[Point]]]) -> Volume:
        """Give the mask that prompts, each a tool and its clicks, would make of a person's draft, which stays as it is."""
        with self._lock:
            edits = self._open(image_id, person)
            tried = Edits(edits.mask, edits.locked)
            tried.done = list(edits.done)
            for tool, points in prompts:
                change = use(tool, self._scene(image_id, tried), points)
                tried.apply(change.voxels, change.at, TOOLS[tool].mode, tool)
            return self._desk.sights.get(image_id).image.with_array(tried.mask.astype(np.uint8))

    def _scene(self, image_id: str, edits: Edits) -> Scene:
        sight = self._desk.sights.get(image_id)
        return Scene(edits.mask, sight.probability, sight.image.array, sight.scaling, sight.image.spacing_um)

    def _open(self, image_id: str, person: str) -> Edits:
        """Give a draft, laid anew over the prediction and the accepted places where these have changed."""
        key, ground = (image_id, person), self._desk.ground(image_id)
        if key not in self._held or self._held[key][0] != ground:
            mask, locked = self._desk.mask(image_id)
            done, undone = self._read(image_id, person)
            edits = Edits(mask.array > 0, locked, done)
            edits.undone = undone
            self._held[key] = (ground, edits)
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key][1]

    def _keep(self, image_id: str, person: str, edits: Edits, step: Step | None) -> Draft:
        path = self._path(image_id, person)
        path.parent.mkdir(parents=True, exist_ok=True)
        steps: dict[str, Any] = {"done": edits.done, "undone": edits.undone}
        try:
            write_json(path, {name: [step.to_json() for step in rows] for name, rows in steps.items()})
        except OSError:
            self._held.pop((image_id, person))  # what was not kept was not done
            raise
        return _draft(edits, step)

    def _read(self, image_id: str, person: str) -> tuple[list[Step], list[Step]]:
        path = self._path(image_id, person)
        if not path.is_file():
            return [], []
        try:
            content = json.loads(path.read_text())
            done, undone = ([Step.of_json(row) for row in content[name]] for name in ("done", "undone"))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"The draft of {image_id} by {person} is damaged ({error!r}). Discard it.") from error
        return done, undone

    def _path(self, image_id: str, person: str) -> Path:
        return self._folder / image_id / f"{person}.json"


def _draft(edits: Edits, step: Step | None) -> Draft:
    voxels = edits.mask[slices_of(step.box)].copy() if step else np.zeros((0, 0, 0), bool)
    return Draft(step, len(edits.done), len(edits.undone), voxels)


def _refuse_too_many(edits: Edits) -> None:
    if len(edits.done) >= MOST_STEPS:  # what lies in answered places is in their answers too
        edits.done = [step for step in edits.done if edits.shows(step)]
    if len(edits.done) >= MOST_STEPS:
        raise InputError(f"A draft holds {MOST_STEPS} steps. Answer the places that are done, and discard the draft.")
