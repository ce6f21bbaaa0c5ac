"""Build the review queue of an image: analyse its prediction, rank its regions, put them in the store's queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock

import numpy as np

from minivess.models import Prediction
from minivess.review.context import ContextCache, ReviewContext
from minivess.review.prediction_cache import CachedPrediction, PredictionCache
from minivess.review.proposal import Proposal, propose_regions
from minivess.review.ranker import MIN_ANSWERS, MIN_VOLUMES
from minivess.review.ranker_samples import SampleFolder
from minivess.review.region_selection import Objective
from minivess.review.zones import ZonesOf, statement_for
from minivess.store import LabelStore, QueueItem

#: So many answers in a queue are needed before the remaining regions are ranked again; also, when fewer items are left.
RERANK_AFTER = 10


class QueueBuilder:
    """Builds and rebuilds queues; any number of threads may use it."""

    def __init__(
        self,
        store: LabelStore,
        predictions: PredictionCache,
        contexts: ContextCache,
        samples: SampleFolder,
        zones_of: ZonesOf,
        quality_of: Callable[[Prediction], str],
    ) -> None:
        """Use a store and the caches of the review.

        Args:
            store: Store with images and queue.
            predictions: Cache of predictions.
            contexts: Cache of contexts.
            samples: Training samples of the ranker.
            zones_of: Returns the zones that were calibrated for weights, by their SHA-256; None when there are none.
            quality_of: Returns the expected quality of a prediction in words; empty where it is not known.
        """
        self._store, self._predictions, self._contexts, self._samples = store, predictions, contexts, samples
        self._zones_of, self._quality_of = zones_of, quality_of
        self._lock = Lock()  # two requests with a new model at the same time do not both build a queue

    def add_prediction(self, image_id: str, prediction: Prediction, *, actor: str, count: int = 100) -> bool:
        """Cache a prediction and build its queue; no effect when the cached one has the same weights and image.

        Args:
            image_id: The image.
            prediction: Its prediction.
            actor: Who asked for it.
            count: Number of regions at most.

        Returns:
            Whether it was new.

        Raises:
            NotFoundError: When there is no such image.
            StoreError: When the queue cannot be written.
        """
        quality = self._quality_of(prediction)  # takes seconds: others need not wait for it
        with self._lock:
            image = self._contexts.read(image_id)
            if self._predictions.is_current(image_id, image, prediction.model):
                if quality != self._predictions.quality(image_id):  # it was calibrated meanwhile
                    self._predictions.put(image_id, image, replace(self._predictions.get(image_id, image), quality=quality))
                return False
            cached = CachedPrediction.from_prediction(prediction, quality)
            context = self._contexts.build(image, cached)
            self._build(image_id, context, actor=actor, count=count, objective="mass")
            self._predictions.put(image_id, image, cached)  # last: after a crash in between, the queue is built again
            self._contexts.put(image_id, context)
            return True

    def rebuild(self, image_id: str, *, actor: str, count: int = 100, objective: Objective = "mass") -> Proposal:
        """Rank the regions of an image again, from its cached prediction and all answers so far.

        Args:
            image_id: The image.
            actor: Who asks for it.
            count: Number of regions at most.
            objective: Determines the size of the regions.

        Raises:
            NotFoundError: When there is no such image, or no prediction for it.
            StoreError: When the queue cannot be written.
        """
        with self._lock:
            return self._build(image_id, self._contexts.get(image_id), actor=actor, count=count, objective=objective)

    def should_rerank(self, item: QueueItem) -> bool:
        """Return whether ranking the remaining regions again may change something after an answer.

        Enough items of its queue were answered, and there are enough training samples, or few items are left.
        """
        if item.model != self._predictions.weights_sha256(item.image_id):
            return False
        if sum(other.queue == item.queue for other in self._store.queue.answered(item.image_id)) < RERANK_AFTER:
            return False
        answers = self._store.queue.count_answers()
        own, others = answers.pop(item.image_id, 0), len(answers)
        left = self._store.queue.all(item.image_id, states=("pending", "leased"), limit=0)[1]
        return own >= MIN_ANSWERS or others >= MIN_VOLUMES or left < RERANK_AFTER

    def _build(self, image_id: str, context: ReviewContext, *, actor: str, count: int, objective: Objective) -> Proposal:
        queue, model = self._store.queue, context.weights_sha256
        leased = queue.all(image_id, states=("leased",), limit=-1)[0]  # their answers are still to come, and are accepted
        looked_at = [i for i in (*queue.answered(image_id), *leased) if i.state in ("accepted", "fixed") or i.model == model]
        reviewed = [item.region.box for item in looked_at]  # not what was skipped with an older model: nobody has answered it
        samples = self._samples.read(image_id, queue.answered())
        rng = np.random.default_rng(len(reviewed))  # the same queue for the same answers
        proposal = propose_regions(
            context.analysis, count=count, objective=objective, reviewed=reviewed, samples=samples, rng=rng
        )
        about = {
            "ranked_by": proposal.ranked_by,
            "order": objective,
            "retrain_first": proposal.retrain_first,
            "errors_per_predicted_voxel": proposal.errors_per_predicted_voxel,
            "zones": statement_for(self._zones_of, model),
        }
        considered = {item.id for item in looked_at}
        queue.propose(image_id, proposal.regions, model=model, actor=actor, about=about, considered=considered)
        return proposal
