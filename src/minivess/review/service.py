"""The review service: the current mask of an image, its uncertainty, and the answers of annotators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import ConflictError, InputError, OutdatedError
from minivess.models import Prediction, binary_entropy
from minivess.review.accepted_regions import apply_accepted
from minivess.review.context import ContextCache
from minivess.review.mask_codec import hash_of, pack_mask
from minivess.review.prediction_cache import PredictionCache
from minivess.review.proposal import retrain_advice
from minivess.review.queue_builder import QueueBuilder
from minivess.review.ranker_samples import SampleFolder, samples_from_answer
from minivess.review.zones import ZonesOf, candidate_threshold_for, statement_for
from minivess.store import LabelStore, QueueItem
from minivess.volume import Volume


class ReviewService:
    """What the server and the label app do with a review; any number of threads may use it.

    Attributes:
        store: Store with images, queue and answers.
        zones_of: Returns the zones that were calibrated for weights.
        predictions: Cache of predictions.
        contexts: Cache of what is computed for an image and its prediction.
        queue_builder: Fills and ranks the queue.
    """

    def __init__(
        self,
        store: LabelStore,
        folder: Path,
        read: Callable[[str], Volume],
        *,
        modality: str,
        zones_of: ZonesOf = lambda _: None,
        quality_of: Callable[[Prediction], str] = lambda _: "",
        published: Callable[[], str] = lambda: "",
    ) -> None:
        """Open the review of a store.

        Args:
            store: Store with images, queue and answers.
            folder: Folder for what can be computed again: predictions, and training samples of the ranker.
            read: Reads the image of an id.
            modality: Key of :data:`minivess.models.normalise.MODALITIES`.
            zones_of: Returns the zones that were calibrated for weights, by their SHA-256; None when there are none.
            quality_of: Returns the expected quality of a prediction in words; empty where it is not known.
            published: Returns the SHA-256 of the weights that are published now; empty where there are none.
        """
        self.store = store
        self._published = published
        self.zones_of = zones_of
        self.predictions = PredictionCache(folder / "predictions")
        self.contexts = ContextCache(store, self.predictions, read, modality, partial(candidate_threshold_for, zones_of))
        self._samples = SampleFolder(folder / "lessons")
        self.queue_builder = QueueBuilder(store, self.predictions, self.contexts, self._samples, zones_of, quality_of)

    def read(self, image_id: str) -> Volume:
        """Read an image.

        Raises:
            NotFoundError: When there is no such image.
        """
        return self.contexts.read(image_id)

    def mask(self, image_id: str) -> tuple[Volume, NDArray[np.bool_]]:
        """Return the current mask of an image, uint8: the prediction with the accepted regions applied.

        Returns:
            The mask, and (x, y, z) bool which voxels are accepted.

        Raises:
            NotFoundError: When there is no such image, or no prediction for it.
        """
        context = self.contexts.get(image_id)
        mask, locked = apply_accepted(context.mask, self.store.queue.answered(image_id))
        return context.image.with_array(mask.astype(np.uint8)), locked

    def has_newer_model(self, image_id: str) -> bool:
        """Return whether another model is published than the one that has predicted an image."""
        predicted_by, published = self.predictions.weights_sha256(image_id), self._published()
        return bool(predicted_by and published) and predicted_by != published

    def mask_before(self, image_id: str) -> Volume:
        """Return the mask that the model before the present one has predicted, uint8, without the answers of people.

        Raises:
            NotFoundError: When there is no such image, or no other model has segmented it before.
        """
        image = self.read(image_id)
        return image.with_array(self.predictions.mask_before(image_id, image).astype(np.uint8))

    def mask_version(self, image_id: str) -> object:
        """Return a token that changes whenever :meth:`mask` would."""
        answers = [(item.id, item.answer.number) for item in self.store.queue.answered(image_id) if item.answer]
        return self.predictions.version(image_id), self.store.images.get(image_id).image, answers

    def entropy(self, image_id: str) -> Volume:
        """Compute the uncertainty of the model: binary entropy in nats, float32 in [0, ln 2].

        Raises:
            NotFoundError: When there is no such image, or no prediction for it.
        """
        context = self.contexts.get(image_id)
        return context.image.with_array(binary_entropy(context.probability.astype(np.float32)))

    def advice(self, image_id: str) -> dict[str, str]:
        """Return why the queue of an image does not help, its expected ``quality``, and what its zones guarantee.

        Raises:
            NotFoundError: When there is no such image, or no prediction for it.
        """
        context = self.contexts.get(image_id)
        return {
            "retrain_first": retrain_advice(context.errors_per_predicted_voxel),
            "quality": self.predictions.quality(image_id),
            "zones": statement_for(self.zones_of, context.weights_sha256),
        }

    def answer(
        self,
        item_id: str,
        verdict: str,
        *,
        actor: str,
        corrected: NDArray[np.bool_] | None = None,
        seconds: float | None = None,
        note: str = "",
        shown_model: str = "",
        run_later: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> QueueItem:
        """Record an answer: the accepted voxels of a region are those that were shown, or the corrected ones.

        Args:
            item_id: The queue item.
            verdict: ``accepted``, ``fixed`` or ``skipped``.
            actor: Who answers.
            corrected: (x, y, z) bool, the voxels of the region's box, for ``fixed``.
            seconds: How long it took.
            note: What the annotator writes about it.
            shown_model: SHA-256 of the weights whose mask the annotator has seen; empty where it is not known.
            run_later: Called with a function that extracts training samples (seconds on first use); default: run it now.

        Raises:
            InputError: When ``fixed`` comes without voxels, another verdict with voxels, or they do not fill the box.
            ConflictError: When another user has answered or reserved the item, or the model changed after the region was
                shown: nobody accepts what they have not seen.
            NotFoundError: When there is no such item.
        """
        item = self.store.queue.get(item_id)
        box = item.region.box
        if (verdict == "fixed") != (corrected is not None):
            raise InputError(f"The verdict 'fixed' comes with the voxels of the region, other verdicts without. Got {verdict!r}.")
        if corrected is not None and corrected.shape != box.shape:
            raise InputError(f"The region has {box.shape} voxels. Got {corrected.shape}.")
        if verdict == "skipped":
            return self.store.queue.answer(item_id, verdict, actor=actor, seconds=seconds, note=note)
        known: dict[str, Any] = {"actor": actor, "seconds": seconds, "note": note}
        if corrected is not None:
            known["sent"] = hash_of(corrected)
        while True:
            last_event = self.store.queue.last_event(item.image_id)
            mask, locked = self.mask(item.image_id)
            if verdict == "accepted" or shown_model:
                self.refuse_outdated(item, shown_model)
            shown = mask.array[box.slices] > 0
            # voxels of another region that overlaps with this one, and was answered before, stay as they were accepted
            accepted = shown if corrected is None else np.where(locked[box.slices], shown, corrected)
            try:
                answered = self.store.queue.answer(item_id, verdict, mask=pack_mask(accepted), last_event=last_event, **known)
                break
            except OutdatedError:  # somebody has answered another region of the image meanwhile
                continue
        run_later(lambda: self._write_samples(answered, shown, accepted))
        return answered

    def next(self, holder: str, *, seconds: float, image_id: str = "") -> QueueItem | None:
        """Reserve the best item, as the store's queue does; withdrawn answers to older models are left out.

        When none is left, one that others have skipped with the present model.

        Args:
            holder: For whom.
            seconds: How long the reservation lasts.
            image_id: Only items of this image; empty for all images.
        """
        while item := self.store.queue.next(holder, seconds=seconds, image_id=image_id):
            newest = self.predictions.weights_sha256(item.image_id)
            if newest in ("", item.model):
                break
            self.store.queue.retire(item.id)
        return item or self._next_skipped(holder, seconds, image_id)

    def _next_skipped(self, holder: str, seconds: float, image_id: str) -> QueueItem | None:
        """Open a region of the present model again that only others have skipped, and reserve it."""
        for item in self.store.queue.all(image_id, states=("skipped",), limit=-1)[0]:
            others_only = item.answer is not None and holder not in {item.holder, *item.answer.skipped_by}
            if others_only and item.model == self.predictions.weights_sha256(item.image_id):
                try:
                    return self.store.queue.reopen(item.id, actor=holder, reserve_s=seconds)
                except ConflictError:  # somebody was faster
                    continue
        return None

    def reopen(self, item_id: str, *, actor: str, reserve_s: float = 0.0) -> QueueItem:
        """Withdraw an answer; the region is shown with the newest prediction from then on, and can be answered again.

        Args:
            item_id: The item.
            actor: Who withdraws it.
            reserve_s: How long it is reserved for them.

        Raises:
            ConflictError: When it was not answered.
            NotFoundError: When there is no such item.
        """
        item = self.store.queue.get(item_id)
        newest = self.predictions.weights_sha256(item.image_id)
        model = newest if newest != item.model else ""
        return self.store.queue.reopen(item_id, actor=actor, reserve_s=reserve_s, model=model)

    def refuse_outdated(self, item: QueueItem, shown_model: str = "") -> None:
        """Check that the region was shown with the prediction of the newest model.

        Args:
            item: The region.
            shown_model: SHA-256 of the weights whose mask was shown; empty for that of the item.

        Raises:
            ConflictError: When a newer model has predicted the image.
        """
        if {item.model, shown_model or item.model} != {self.predictions.weights_sha256(item.image_id)}:
            raise ConflictError(f"A newer model has predicted {item.id}. Look at it again: ask for the next item.")

    def _write_samples(self, item: QueueItem, shown: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> None:
        context = self.contexts.get(item.image_id)
        spacing_um = context.image.spacing_um
        samples = samples_from_answer(context.analysis.blocks, item.region.box, shown, accepted, spacing_um)
        self._samples.write(item, samples)
