"""Per-user drafts: one edit history per (user, image), saved after each step and applied again to each new prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from minivess.errors import ConflictError, InputError, StoreError
from minivess.models.segmenter import PromptKind
from minivess.paths import write_json
from minivess.review.edits import Edits, EditStep, Mode
from minivess.review.prompts import MaskChange, Point, PromptContext
from minivess.review.service import ReviewService
from minivess.review.tools import TOOLS, Tool, run_tool
from minivess.volume import Box, Volume

#: Maximum steps per draft. Answer finished regions to free steps.
MAX_STEPS = 500
_MAX_DRAFTS = 4
_Key = tuple[str, str]  # image and user


class PromptedModel(Protocol):
    """The model that the tools ask."""

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """Kinds of prompts that it takes."""
        ...

    def segment(self, image: Volume, prompts: Mapping[PromptKind, Any]) -> MaskChange:
        """Segment the object at prompts in an image.

        Args:
            image: The image.
            prompts: Kind -> prompt, see :meth:`minivess.models.Segmenter.predict`.
        """
        ...


@dataclass(frozen=True, eq=False)
class Draft:
    """The state of a draft after a request.

    Attributes:
        step: The step that was done, undone or redone; None when nothing changed.
        undo: Number of steps that can be undone.
        redo: Number of steps that can be redone.
        voxels: (x, y, z) bool, the mask inside the step's box now.
    """

    step: EditStep | None
    undo: int
    redo: int
    voxels: NDArray[np.bool_]


class Drafts:
    """The drafts of all users. Requests for one draft run one after the other; those for different drafts at the same time."""

    def __init__(self, service: ReviewService, folder: Path, model: PromptedModel | None = None) -> None:
        """Open the drafts.

        Args:
            service: The review that they belong to.
            folder: Where they are saved.
            model: Segments the object at a prompt in an image; None where there is none.
        """
        self._service, self._folder, self._model = service, folder, model
        self._cache: LRUCache[_Key, tuple[object, Edits]] = LRUCache(_MAX_DRAFTS)
        self._locks: WeakValueDictionary[_Key, RLock] = WeakValueDictionary()  # a lock that nobody uses is not kept
        self._lock = Lock()  # of the two dictionaries

    def prompt(
        self, image_id: str, user: str, tool: str, points: Sequence[Point], *, mode: Mode | None = None, box: Box | None = None
    ) -> Draft:
        """Run a tool; locked and hand-drawn voxels stay.

        Args:
            image_id: The image.
            user: Whose draft.
            tool: Key of :data:`minivess.review.tools.TOOLS`.
            points: Voxels that were clicked, in order.
            mode: What to do with the tool's voxels; the tool's own mode by default.
            box: No voxel outside changes.

        Raises:
            InputError: When the tool or mode is unknown, the clicks do not fit the tool, or the draft has too many steps.
            NotFoundError: When there is no such image, or no prediction for it.
        """
        with self._opened(image_id, user) as edits:
            _make_room(edits)
            change = run_tool(tool, self._prompt_context(image_id, edits), points, box)
            step = edits.apply(change.voxels, change.start, mode or TOOLS[tool].mode, tool, within=box)
            return self._save(image_id, user, edits, step)

    def draw(self, image_id: str, user: str, box: Box, voxels: NDArray[np.bool_]) -> Draft:
        """Set the voxels of a box as the annotator drew them; prompts no longer change these voxels.

        Args:
            image_id: The image.
            user: Whose draft.
            box: Where.
            voxels: (x, y, z) bool, the mask inside the box.

        Raises:
            InputError: When the box is not inside the image, or the draft has too many steps.
            NotFoundError: When there is no such image, or no prediction for it.
        """
        with self._opened(image_id, user) as edits:
            _make_room(edits)
            return self._save(image_id, user, edits, edits.apply(voxels, box.low, "replace", "draw", by_hand=True))

    @property
    def tools(self) -> dict[str, Tool]:
        """The tools that can be used with the model of this server, by name."""
        kinds = self._model.kinds if self._model else frozenset()
        return {name: tool for name, tool in TOOLS.items() if tool.asks is None or tool.asks in kinds}

    def undo(self, image_id: str, user: str) -> Draft:
        """Undo the last step of a draft.

        Args:
            image_id: The image.
            user: Whose draft.
        """
        with self._opened(image_id, user) as edits:
            return self._save(image_id, user, edits, edits.undo())

    def redo(self, image_id: str, user: str) -> Draft:
        """Apply the step that was undone last again.

        Args:
            image_id: The image.
            user: Whose draft.
        """
        with self._opened(image_id, user) as edits:
            return self._save(image_id, user, edits, edits.redo())

    def state(self, image_id: str, user: str) -> Draft:
        """Return the state of a draft; its ``step`` is the last visible one.

        Args:
            image_id: The image.
            user: Whose draft.
        """
        with self._opened(image_id, user) as edits:
            return _state(edits, next((step for step in reversed(edits.done) if step.voxels), None))

    def steps(self, image_id: str, user: str) -> list[EditStep]:
        """Return the steps of a draft that can be undone, the oldest first.

        Args:
            image_id: The image.
            user: Whose draft.
        """
        with self._opened(image_id, user) as edits:
            return [step for step in edits.done if edits.is_visible(step)]

    def mask(self, image_id: str, user: str) -> Volume:
        """Return the mask of a user, uint8: prediction, accepted regions, then the user's draft.

        Args:
            image_id: The image.
            user: Whose draft.
        """
        with self._opened(image_id, user) as edits:
            return self._service.contexts.get(image_id).image.with_array(edits.mask.astype(np.uint8))

    def corrected_in(self, image_id: str, user: str, box: Box) -> NDArray[np.bool_]:
        """Return the mask of a user inside a box, which the draft must have changed.

        Args:
            image_id: The image.
            user: Whose draft.
            box: The box.

        Returns:
            (x, y, z) bool.

        Raises:
            InputError: When the draft changes nothing in the box.
            NotFoundError: When there is no such image, or no prediction for it.
        """
        with self._opened(image_id, user) as edits:
            inside = edits.mask[box.slices].copy()
        if (inside == (self._service.mask(image_id)[0].array[box.slices] > 0)).all():
            raise InputError("Your draft changes nothing in this region. Accept the region, or send the corrected label with it.")
        return inside

    def discard(self, image_id: str, user: str) -> None:
        """Delete a draft.

        Args:
            image_id: The image.
            user: Whose draft.

        Raises:
            NotFoundError: When there is no such image.
        """
        with self._lock_of(image_id, user):
            self._service.store.images.get(image_id)
            self._forget(image_id, user)
            self._path(image_id, user).unlink(missing_ok=True)

    def preview(
        self, image_id: str, user: str, prompts: Sequence[tuple[str, Sequence[Point]]], not_points: Sequence[Point] = ()
    ) -> Volume:
        """Return the mask, uint8, that prompts would make of a draft, which is not changed.

        Args:
            image_id: The image.
            user: Whose draft.
            prompts: Tools with their clicks.
            not_points: Clicks on what is not the object, for the tools that ask the model.
        """
        with self._opened(image_id, user) as edits:
            preview = Edits(edits.mask, edits.locked)
            preview.done = list(edits.done)
            for tool, points in prompts:
                change = run_tool(tool, self._prompt_context(image_id, preview, not_points), points)
                preview.apply(change.voxels, change.start, TOOLS[tool].mode, tool)
            return self._service.contexts.get(image_id).image.with_array(preview.mask.astype(np.uint8))

    def _prompt_context(self, image_id: str, edits: Edits, not_points: Sequence[Point] = ()) -> PromptContext:
        context = self._service.contexts.get(image_id)
        image = context.image
        segment = partial(self._model.segment, image) if self._model else None
        return PromptContext(edits.mask, context.probability, image.array, context.scaling, image.spacing_um, segment, not_points)

    def _lock_of(self, image_id: str, user: str) -> RLock:
        with self._lock:
            return self._locks.setdefault((image_id, user), RLock())

    @contextmanager
    def _opened(self, image_id: str, user: str) -> Iterator[Edits]:
        """Lock a draft and yield its edits, applied again when the prediction or an accepted region has changed."""
        with self._lock_of(image_id, user):
            version = self._service.mask_version(image_id)
            with self._lock:
                cached = self._cache.get((image_id, user))
            if cached is None or cached[0] != version:
                mask, locked = self._service.mask(image_id)
                done, undone = self._read(image_id, user)
                if not all(step.box.fits(mask.shape) for step in (*done, *undone)):
                    raise ConflictError(f"{image_id} was replaced by a smaller image: the draft does not fit. Discard the draft.")
                cached = (version, Edits(mask.array > 0, locked, done))
                cached[1].undone = undone
                with self._lock:
                    self._cache[image_id, user] = cached
            yield cached[1]

    def _forget(self, image_id: str, user: str) -> None:
        with self._lock:
            self._cache.pop((image_id, user), None)

    def _save(self, image_id: str, user: str, edits: Edits, step: EditStep | None) -> Draft:
        rows = {name: [s.to_json() for s in steps] for name, steps in (("done", edits.done), ("undone", edits.undone))}
        try:
            write_json(self._path(image_id, user), rows)
        except OSError:
            self._forget(image_id, user)  # a step that was not saved was not done
            raise
        return _state(edits, step)

    def _read(self, image_id: str, user: str) -> tuple[list[EditStep], list[EditStep]]:
        path = self._path(image_id, user)
        if not path.is_file():
            return [], []
        try:
            content = json.loads(path.read_text())
            done, undone = ([EditStep.from_json(row) for row in content[name]] for name in ("done", "undone"))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"The draft of {user} for {image_id} is damaged ({error!r}). Discard it.") from error
        return done, undone

    def _path(self, image_id: str, user: str) -> Path:
        return self._folder / image_id / f"{user}.json"


def _state(edits: Edits, step: EditStep | None) -> Draft:
    voxels = edits.mask[step.box.slices].copy() if step else np.zeros((0, 0, 0), bool)
    return Draft(step, len(edits.done), len(edits.undone), voxels)


def _make_room(edits: Edits) -> None:
    if len(edits.done) >= MAX_STEPS:  # steps inside answered regions are in the answers, too
        edits.done = [step for step in edits.done if edits.is_visible(step)]
    if len(edits.done) >= MAX_STEPS:
        raise InputError(f"A draft has at most {MAX_STEPS} steps. Answer the regions that are finished, and discard the draft.")
