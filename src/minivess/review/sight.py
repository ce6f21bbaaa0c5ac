"""All that is at hand of an image under review: the image, what the model thinks of it, how it is cut into cells."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from minivess.models import Prediction
from minivess.models.normalise import Scaling, fit_scaling
from minivess.review.cells import Cells, cut_in_cells
from minivess.review.kept import KeptPredictions
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
    """

    image: Volume
    probability: NDArray[np.float16]
    drawn: NDArray[np.bool_]
    model: str
    threshold: float
    scaling: Scaling

    @staticmethod
    def of(image: Volume, prediction: Prediction, modality: str) -> Sight:
        """Put together what is known."""
        return Sight(
            image,
            prediction.probability.array.astype(np.float16),
            prediction.mask.array > 0,
            prediction.model.weights_sha256,
            prediction.threshold,
            fit_scaling(image.array, modality),
        )

    @cached_property
    def errors_per_predicted_voxel(self) -> float:
        """What the model expects of itself."""
        return expected_errors_per_predicted_voxel(self.probability.astype(np.float32), self.threshold)

    @cached_property
    def cells(self) -> Cells:
        """The volume in cells, with what is known of each."""
        probability = self.probability.astype(np.float32)
        return cut_in_cells(probability, self.drawn, self.scaling.apply(self.image.array), self.image.spacing_um)


class Sights:
    """The last few images, so that a click need not read a volume."""

    def __init__(self, store: LabelStore, kept: KeptPredictions, read: Callable[[str], Volume], modality: str) -> None:
        """Take where predictions are kept and how an image is read."""
        self._store, self._kept, self._read, self._modality = store, kept, read, modality
        self._held: OrderedDict[tuple[str, int, int], Sight] = OrderedDict()
        self._lock = RLock()

    def get(self, image_id: str) -> Sight:
        """Give an image with its prediction; both are read again when they have changed.

        Raises:
            NotFoundError: When there is no such image, or no prediction of it.
        """
        with self._lock:
            path = self._store.images.get(image_id).image
            stamp = path.stat().st_mtime_ns if path.exists() else 0
            key = (image_id, self._kept.stamp(image_id), stamp)
            if key not in self._held:
                image = self._read(image_id)
                sight = Sight.of(image, self._kept.get(image_id, image), self._modality)
                for old in [k for k in self._held if k[0] == image_id]:
                    del self._held[old]
                self._held[key] = sight
            self._held.move_to_end(key)
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
            return self._held[key]
