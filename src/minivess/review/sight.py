"""All that is at hand of an image under review: the image, what the model thinks of it, how it is cut into cells."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from minivess.models import Prediction
from minivess.models.normalise import Scaling, fit_scaling
from minivess.review.findings import MIGHT_BE
from minivess.review.kept import KeptPredictions, halved
from minivess.review.survey import Survey, look_over
from minivess.store import LabelStore
from minivess.uncertainty import expected_errors_per_predicted_voxel
from minivess.volume import Volume

#: Images that are held in memory; one of 512 x 512 x 128 voxels at 16 bits takes 270 MB.
_HELD = 3


@dataclass(frozen=True, eq=False)
class Sight:
    """An image with its last prediction.

    Attributes:
        image: The image.
        probability: (x, y, z) float16, as it is kept.
        drawn: (x, y, z) bool, what the model draws.
        model: SHA-256 of the model's weights.
        threshold: From which probability on it draws.
        scaling: How the model sees intensities.
        low: Probability from which a voxel might be vessel.
    """

    image: Volume
    probability: NDArray[np.float16]
    drawn: NDArray[np.bool_]
    model: str
    threshold: float
    scaling: Scaling
    low: float

    @staticmethod
    def of(image: Volume, prediction: Prediction, modality: str, *, low: float = MIGHT_BE) -> Sight:
        """Put together what is known."""
        return Sight(
            image,
            halved(prediction.probability.array, prediction.threshold),
            prediction.mask.array > 0,
            prediction.model.weights_sha256,
            prediction.threshold,
            fit_scaling(image.array, modality),
            low,
        )

    @cached_property
    def errors_per_predicted_voxel(self) -> float:
        """What the model expects of itself."""
        return expected_errors_per_predicted_voxel(self.probability.astype(np.float32), self.threshold)

    @cached_property
    def survey(self) -> Survey:
        """What the prediction says of where it may be wrong; takes seconds the first time."""
        probability = self.image.with_array(self.probability.astype(np.float32))
        contrast = self.scaling.apply(self.image.array)
        found = look_over(probability, self.drawn, contrast, threshold=self.threshold, low=self.low)
        return replace(found, volume=self.image)  # the probability is not held twice


class Sights:
    """The last few images, so that a click need not read a volume."""

    def __init__(
        self,
        store: LabelStore,
        kept: KeptPredictions,
        read: Callable[[str], Volume],
        modality: str,
        low_of: Callable[[str], float] = lambda _: MIGHT_BE,
    ) -> None:
        """Take where predictions are kept, how an image is read, and from where on voxels might be vessel for a model."""
        self._store, self._kept, self._read, self._modality, self._low_of = store, kept, read, modality, low_of
        self._held: OrderedDict[tuple[object, ...], Sight] = OrderedDict()
        self._lock = RLock()

    def get(self, image_id: str) -> Sight:
        """Give an image with its prediction; both are read again when they have changed.

        Raises:
            NotFoundError: When there is no such image, or no prediction of it.
        """
        with self._lock:
            key = self._key(image_id)
            if key not in self._held:
                image = self._read(image_id)
                self._hold(key, self.of(image, self._kept.get(image_id, image)))
            self._held.move_to_end(key)
            return self._held[key]

    def of(self, image: Volume, prediction: Prediction) -> Sight:
        """Put together an image and a prediction that is not kept yet."""
        return Sight.of(image, prediction, self._modality, low=self._low_of(prediction.model.weights_sha256))

    def keep(self, image_id: str, sight: Sight) -> None:
        """Hold what was put together of a prediction, now that it is kept: its survey need not be made again."""
        with self._lock:
            self._hold(self._key(image_id), sight)

    def _key(self, image_id: str) -> tuple[object, ...]:
        path = self._store.images.get(image_id).image
        written = path.stat().st_mtime_ns if path.exists() else 0
        return image_id, self._kept.stamp(image_id), written, self._low_of(self._kept.model(image_id))

    def _hold(self, key: tuple[object, ...], sight: Sight) -> None:
        for old in [k for k in self._held if k[0] == key[0]]:
            del self._held[old]
        self._held[key] = sight
        while len(self._held) > _HELD:
            self._held.popitem(last=False)
