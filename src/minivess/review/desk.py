"""The desk that people review at: predictions come in, places are asked about, answers are kept and learned from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import ConflictError, InputError
from minivess.models import Prediction, binary_entropy
from minivess.paths import atomic_file
from minivess.review.accepted import as_box, lay_under, pack
from minivess.review.cells import FEATURES
from minivess.review.findings import MIGHT_BE
from minivess.review.kept import KeptPredictions
from minivess.review.lessons import lesson_of
from minivess.review.places import Order
from minivess.review.propose import Proposal, propose, useless
from minivess.review.ranker import ENOUGH_ANSWERS, ENOUGH_VOLUMES, Answers
from minivess.review.region import slices_of
from minivess.review.sight import Sight, Sights
from minivess.store import LabelStore, Place
from minivess.uncertainty import Zones
from minivess.volume import Volume

logger = logging.getLogger(__name__)

#: After so many answers of a queue the places that are left are ranked again, and when fewer are left.
RANK_AGAIN_AFTER = 10


class ReviewDesk:
    """What the server and the label app do with places; any number of threads may use one."""

    def __init__(
        self,
        store: LabelStore,
        folder: Path,
        read: Callable[[str], Volume],
        *,
        modality: str,
        zones_of: Callable[[str], Zones | None] = lambda _: None,
    ) -> None:
        """Take where things are.

        Args:
            store: Keeps the queue and the answers.
            folder: For what can be computed again: predictions, and what answers teach.
            read: Gives the image of an id.
            modality: Key of :data:`minivess.models.normalise.MODALITIES`.
            zones_of: Gives the zones that were calibrated for weights, by their SHA-256; None where there are none.
        """
        self.zones_of = zones_of
        self.store = store
        self.kept = KeptPredictions(folder / "predictions")
        self._lessons = folder / "lessons"
        self.read = read
        self.sights = Sights(store, self.kept, read, modality, self._low)
        self._asking = Lock()  # two people who ask a new model at once do not both make a queue

    def take_in(self, image_id: str, prediction: Prediction, *, actor: str, count: int = 100, order: Order = "mass") -> bool:
        """Keep a prediction and ask about its places, unless those of its model are asked about already.

        What was answered before stays answered.

        Returns:
            Whether it was new.

        Raises:
            NotFoundError: When there is no such image.
            StoreError: When the queue cannot be kept.
        """
        with self._asking:
            image = self.read(image_id)
            if self.kept.has(image_id, image, prediction.model):
                return False
            sight = self.sights.of(image, prediction)
            self._ask(image_id, sight, actor=actor, count=count, order=order)
            self.kept.put(image_id, image, prediction)  # last: after a crash in between the model is asked again
            self.sights.keep(image_id, sight)
            return True

    def fill(self, image_id: str, *, actor: str, count: int = 100, order: Order = "mass") -> Proposal:
        """Rank the places of an image again, from the prediction that is kept and all answers so far.

        Raises:
            NotFoundError: When there is no such image, or no prediction of it.
            StoreError: When the queue cannot be kept.
        """
        with self._asking:
            return self._ask(image_id, self.sights.get(image_id), actor=actor, count=count, order=order)

    def _ask(self, image_id: str, sight: Sight, *, actor: str, count: int, order: Order) -> Proposal:
        reviewed = [as_box(place.region["box"]) for place in self.store.places.answered(image_id)]
        looked_at = self.store.places.all(image_id, states=("leased",), limit=-1)[0]  # an answer comes, and is taken
        reviewed += [as_box(place.region["box"]) for place in looked_at if place.region.get("model") == sight.model]
        proposal = propose(sight.survey, count=count, order=order, reviewed=reviewed, answers=self._answers(image_id))
        model, zones = sight.model, self.zones_of(sight.model)
        about = {
            "model": model,
            "ranked_by": proposal.ranked_by,
            "order": order,
            "retrain_first": proposal.retrain_first,
            "errors_per_predicted_voxel": proposal.errors_per_predicted_voxel,
            "zones": zones.sentence() if zones else "",
        }
        regions = [{**region.to_json(), "model": model} for region in proposal.regions]
        self.store.places.propose(image_id, regions, actor=actor, about=about)
        return proposal

    def mask(self, image_id: str) -> tuple[Volume, NDArray[np.bool_]]:
        """Give what counts as vessel now, the prediction laid under what was accepted; and which voxels are accepted.

        Raises:
            NotFoundError: When there is no such image, or no prediction of it.
        """
        sight = self.sights.get(image_id)
        answers = [{**place.answer, "box": place.region["box"]} for place in self._answered(image_id)]
        mask, locked = lay_under(sight.drawn, answers)
        return sight.image.with_array(mask.astype(np.uint8)), locked

    def entropy(self, image_id: str) -> Volume:
        """Give how unsure the model is, per voxel: entropy in nats, float32.

        Raises:
            NotFoundError: When there is no such image, or no prediction of it.
        """
        sight = self.sights.get(image_id)
        return sight.image.with_array(binary_entropy(sight.probability.astype(np.float32)))

    def advice(self, image_id: str) -> dict[str, str]:
        """Say why the queue of an image is useless, if it is, and what its zones promise, if they were calibrated.

        Raises:
            NotFoundError: When there is no such image, or no prediction of it.
        """
        sight = self.sights.get(image_id)
        zones = self.zones_of(sight.model)
        return {"retrain_first": useless(sight.errors_per_predicted_voxel), "zones": zones.sentence() if zones else ""}

    def may_rank_again(self, place: Place) -> bool:
        """Tell whether ranking the places that are left again may change something.

        Enough of its queue was answered, and there is enough to learn from; or few are left, and there may be more.
        """
        queue = place.id.rpartition(".")[0]
        if place.region.get("model") != self.kept.model(place.case):
            return False
        if sum(p.id.rpartition(".")[0] == queue for p in self.store.places.answered(place.case)) < RANK_AGAIN_AFTER:
            return False
        answers = self.store.places.count_answers()
        own, others = answers.pop(place.case, 0), len(answers)
        left = self.store.places.all(place.case, states=("pending", "leased"), limit=0)[1]
        return own >= ENOUGH_ANSWERS or others >= ENOUGH_VOLUMES or left < RANK_AGAIN_AFTER

    def ground(self, image_id: str) -> object:
        """Give a value that changes whenever :meth:`mask` does: another prediction, an answer, one that was taken back."""
        answers = [(place.id, place.answer["number"]) for place in self._answered(image_id)]
        return self.kept.stamp(image_id), self.store.images.get(image_id).image, answers

    def _answered(self, image_id: str) -> list[Place]:
        """List the answered places of an image, the oldest answer first."""
        return sorted(self.store.places.answered(image_id), key=lambda place: int(place.answer["number"]))

    def answer(
        self,
        place_id: str,
        verdict: str,
        *,
        actor: str,
        corrected: NDArray[np.bool_] | None = None,
        seconds: float | None = None,
        aside: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> Place:
        """Keep an answer: the voxels of the place are what was shown where it is accepted, or what was made of it.

        Args:
            place_id: The place.
            verdict: ``accepted``, ``fixed`` or ``skipped``.
            actor: Who answers.
            corrected: (x, y, z) the voxels of the place's box, for ``fixed``.
            seconds: How long it took.
            aside: Runs what the answer teaches, which may take seconds the first time; at once unless stated.

        Raises:
            InputError: When a fixed place comes without its voxels, or they do not fit the box.
            ConflictError: When somebody else has answered it or is looking at it, or the model changed since the place was
                shown: what was not seen is not accepted.
            NotFoundError: When there is no such place.
        """
        place = self.store.places.get(place_id)
        box = as_box(place.region["box"])
        shape = tuple(b - a for a, b in zip(box[::2], box[1::2], strict=True))
        if (verdict == "fixed") != (corrected is not None):
            raise InputError(f"The voxels of a place come with the answer fixed, and only with it. Got {verdict!r}.")
        if corrected is not None and corrected.shape != shape:
            raise InputError(f"The place has {shape} voxels. Got {corrected.shape}.")
        details: dict[str, Any] = {} if seconds is None else {"seconds": round(seconds, 1)}
        if verdict == "skipped":
            return self.store.places.answer(place_id, verdict, actor=actor, details=details)
        if verdict == "accepted":
            self.refuse_unseen(place)
        shown = self.mask(place.case)[0].array[slices_of(box)] > 0
        accepted = shown if corrected is None else corrected
        kept = self.store.places.answer(place_id, verdict, actor=actor, details={**details, "mask": pack(accepted)})
        aside(lambda: self._learn(kept, shown, accepted))
        return kept

    def refuse_unseen(self, place: Place) -> None:
        """Let nobody accept what a newer model has drawn since they looked.

        Raises:
            ConflictError: When that is so.
        """
        if place.region.get("model") != self.kept.model(place.case):
            raise ConflictError(f"A newer model has drawn {place.id} anew. Look at it again: ask for the next place.")

    def _learn(self, place: Place, shown: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> None:
        sight = self.sights.get(place.case)
        lesson = lesson_of(sight.survey.cells, as_box(place.region["box"]), shown, accepted, sight.image.spacing_um)
        path = self._lessons / f"{place.id.replace(':', '@')}.npz"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, features=lesson.features, errors=lesson.errors, case=np.array(place.case))
        except OSError as error:  # the answer is kept; only what it teaches is lost
            logger.warning("what an answer teaches could not be written: %s", error.strerror)

    def _answers(self, image_id: str) -> Answers | None:
        """Read what all answers teach; those of other images count as other volumes."""
        by_case: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float64]]]] = {}
        valid = {place.id for place in self.store.places.answered()}
        for file in sorted(self._lessons.glob("*.npz")):
            if file.stem.replace("@", ":") not in valid:  # taken back
                continue
            with np.load(file, allow_pickle=False) as kept:
                if kept["features"].shape[1] == len(FEATURES):
                    by_case.setdefault(str(kept["case"]), []).append((kept["features"], kept["errors"]))
        if not by_case:
            return None
        volumes = {case: _as_answers(lessons) for case, lessons in by_case.items()}
        return Answers.joined(volumes.pop(image_id, None), list(volumes.values()))

    def _low(self, model: str) -> float:
        zones = self.zones_of(model)
        return zones.lower if zones else MIGHT_BE


def _as_answers(lessons: list[tuple[NDArray[np.float32], NDArray[np.float64]]]) -> Answers:
    count = [len(errors) for _, errors in lessons]
    return Answers(
        np.concatenate([features for features, _ in lessons]),
        np.concatenate([errors for _, errors in lessons]),
        np.repeat(np.arange(len(lessons)), count),
        np.zeros(sum(count), np.int64),
    )
