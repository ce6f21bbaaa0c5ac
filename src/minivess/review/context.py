"""The in-memory state of an image under review: image, last prediction, and the analysis of that prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import RLock

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from minivess.models.normalise import Scaling, fit_scaling
from minivess.review.analysis import PredictionAnalysis, analyse_prediction
from minivess.review.error_candidates import CANDIDATE_PROBABILITY
from minivess.review.prediction_cache import CachedPrediction, PredictionCache
from minivess.store import LabelStore
from minivess.uncertainty import expected_errors_per_predicted_voxel
from minivess.volume import Box, Volume

#: Images in memory; one of 512 x 512 x 128 voxels at 16 bits needs 270 MB.
_MAX_IMAGES = 3


@dataclass(frozen=True, eq=False)
class ReviewContext:
    """An image with its last prediction.

    Attributes:
        image: The image.
        prediction: Its last prediction.
        mask: (x, y, z) bool, predicted vessel.
        scaling: How the network sees intensities, with their noise.
        candidate_threshold: Lowest probability that may be vessel.
    """

    image: Volume
    prediction: CachedPrediction
    mask: NDArray[np.bool_]
    scaling: Scaling
    candidate_threshold: float = CANDIDATE_PROBABILITY

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights of the model that predicted."""
        return self.prediction.model.weights_sha256

    @property
    def probability(self) -> NDArray[np.float16]:
        """(x, y, z) float16 in [0, 1]."""
        return self.prediction.probability

    @cached_property
    def errors_per_predicted_voxel(self) -> float:
        """Errors that the model expects, per voxel predicted as vessel."""
        return expected_errors_per_predicted_voxel(self.probability.astype(np.float32), self.prediction.threshold)

    def share_of_errors(self, boxes: Iterable[Box]) -> float:
        """Return which share of all errors that the model expects in the image lies inside boxes, in [0, 1].

        Args:
            boxes: In voxels; they may overlap.
        """
        seen, inside = np.zeros(self.mask.shape, bool), 0.0
        for box in boxes:
            inside += float(self._expected_errors(box)[~seen[box.slices]].sum(dtype=np.float64))
            seen[box.slices] = True
        return inside / self._all_expected_errors if self._all_expected_errors else 1.0

    @cached_property
    def _all_expected_errors(self) -> float:
        return float(self._expected_errors(Box.from_corners((0, 0, 0), self.mask.shape)).sum(dtype=np.float64))

    def _expected_errors(self, box: Box) -> NDArray[np.float32]:
        """Return the probability that a voxel of the mask is wrong, as the model sees it, inside a box."""
        p = self.probability[box.slices].astype(np.float32)
        return np.where(self.mask[box.slices], 1 - p, p)

    @cached_property
    def analysis(self) -> PredictionAnalysis:
        """Analysis of the prediction; takes seconds the first time."""
        analysis = analyse_prediction(
            self.image.with_array(self.probability.astype(np.float32)),
            self.mask,
            self.scaling.apply(self.image.array),
            threshold=self.prediction.threshold,
            candidate_threshold=self.candidate_threshold,
        )
        return replace(analysis, volume=self.image)  # do not hold the float32 probability as well


class ContextCache:
    """The contexts of the images that were used last, so that a click need not read a volume."""

    def __init__(
        self,
        store: LabelStore,
        predictions: PredictionCache,
        read: Callable[[str], Volume],
        modality: str,
        candidate_threshold: Callable[[str], float] = lambda _: CANDIDATE_PROBABILITY,
    ) -> None:
        """Start with an empty cache.

        Args:
            store: The store with the images.
            predictions: The cache of predictions.
            read: Reads the image of an id.
            modality: Key of :data:`minivess.models.normalise.MODALITIES`.
            candidate_threshold: Returns the lowest probability that may be vessel for the SHA-256 of a model's weights.
        """
        self._store, self._predictions, self._read, self._modality = store, predictions, read, modality
        self._candidate_threshold = candidate_threshold
        self._cache: LRUCache[str, tuple[object, ReviewContext]] = LRUCache(_MAX_IMAGES)
        self._lock = RLock()

    def read(self, image_id: str) -> Volume:
        """Read an image.

        Raises:
            NotFoundError: When there is no such image.
        """
        return self._read(image_id)

    def get(self, image_id: str) -> ReviewContext:
        """Return the context of an image; image and prediction are read again when they have changed.

        Raises:
            NotFoundError: When there is no such image, or no prediction for it.
        """
        with self._lock:
            version = self._version(image_id)
            cached = self._cache.get(image_id)
            if cached is None or cached[0] != version:
                image = self._read(image_id)
                cached = self._cache[image_id] = (version, self.build(image, self._predictions.get(image_id, image)))
            return cached[1]

    def build(self, image: Volume, prediction: CachedPrediction) -> ReviewContext:
        """Build the context of an image and a prediction that is not in the cache of predictions yet.

        Args:
            image: The image.
            prediction: Its prediction.
        """
        scaling = fit_scaling(image.array, self._modality).without_smoothing()  # what looks for lines smooths by itself
        threshold = self._candidate_threshold(prediction.model.weights_sha256)
        return ReviewContext(image, prediction, prediction.mask, scaling, threshold)

    def put(self, image_id: str, context: ReviewContext) -> None:
        """Keep a context whose prediction is in the cache of predictions now: its analysis need not be computed again.

        Args:
            image_id: The image.
            context: Its context.
        """
        with self._lock:
            self._cache[image_id] = (self._version(image_id), context)

    def _version(self, image_id: str) -> object:
        path = self._store.images.get(image_id).image
        modified = path.stat().st_mtime_ns if path.exists() else 0
        threshold = self._candidate_threshold(self._predictions.weights_sha256(image_id))
        return self._predictions.version(image_id), modified, threshold
