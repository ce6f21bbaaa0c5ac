"""Cache the last prediction of each image on disk, and the mask of the model before. It can be lost."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from minivess.errors import NotFoundError
from minivess.models import ModelRef, Prediction
from minivess.models.threshold import apply_threshold
from minivess.paths import atomic_file
from minivess.volume import Volume

_BEFORE = "mask_before"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CachedPrediction:
    """A prediction as it is cached.

    Attributes:
        probability: (x, y, z) float16 in [0, 1], on the image's grid.
        threshold: Lowest probability that counts as vessel.
        model: The model that predicted it.
        quality: Its expected quality in words; empty where it was not fitted for the model.
    """

    probability: NDArray[np.float16]
    threshold: float
    model: ModelRef
    quality: str = ""

    @staticmethod
    def from_prediction(prediction: Prediction, quality: str = "") -> CachedPrediction:
        """Round a prediction to half precision; its mask stays the same.

        Args:
            prediction: The prediction.
            quality: Its expected quality in words.
        """
        probability = to_float16_keeping_mask(prediction.probability.array, prediction.threshold)
        return CachedPrediction(probability, prediction.threshold, prediction.model, quality)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(x, y, z) bool, predicted vessel."""
        return apply_threshold(self.probability, self.threshold)


class PredictionCache:
    """A folder with one file an image."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; it is created with the first prediction."""
        self.folder = folder

    def put(self, image_id: str, image: Volume, prediction: CachedPrediction) -> None:
        """Write a prediction in place of an older one.

        Args:
            image_id: The image.
            image: Its content.
            prediction: What the model predicted for it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        model, quality = prediction.model.to_json(), prediction.quality
        about = json.dumps({"image": _sha256(image), "model": model, "threshold": prediction.threshold, "quality": quality})
        before = self._before(image_id, image, prediction.model)
        with atomic_file(self._path(image_id)) as temporary, temporary.open("wb") as stream:
            arrays: dict[str, Any] = {"probability": prediction.probability, "about": np.array(about), **before}
            np.savez(stream, **arrays)

    def _before(self, image_id: str, image: Volume, model: ModelRef) -> dict[str, NDArray[np.uint8]]:
        """Return the mask of the model before ``model``, one bit a voxel; nothing where there is none for this content."""
        try:
            cached = self.get(image_id, image)
        except NotFoundError:
            return {}
        if cached.model.weights_sha256 != model.weights_sha256:
            return {_BEFORE: np.packbits(cached.mask)}
        with self._opened(image_id) as content:
            return {_BEFORE: content[_BEFORE]} if _BEFORE in content else {}

    def has_mask_before(self, image_id: str) -> bool:
        """Return whether another model has predicted the image before the one whose prediction is cached."""
        try:
            with self._opened(image_id) as content:
                return _BEFORE in content
        except NotFoundError:
            return False

    def mask_before(self, image_id: str, image: Volume) -> NDArray[np.bool_]:
        """Return the predicted vessel of the model before the present one, (x, y, z) bool.

        Args:
            image_id: The image.
            image: Its content.

        Raises:
            NotFoundError: When no other model has predicted this content before.
        """
        self.get(image_id, image)
        with self._opened(image_id) as content:
            if _BEFORE not in content:
                raise NotFoundError(f"No other model has segmented {image_id} before. Train one, and open the image again.")
            bits = np.unpackbits(content[_BEFORE], count=image.array.size)
        return bits.reshape(image.shape).astype(bool)

    def weights_sha256(self, image_id: str) -> str:
        """Return the SHA-256 of the weights that the cached prediction was made with; empty when there is none."""
        return str(self._about(image_id).get("model", {}).get("weights_sha256", ""))

    def quality(self, image_id: str) -> str:
        """Return the expected quality of the cached prediction in words; empty when there is none."""
        return str(self._about(image_id).get("quality", ""))

    def version(self, image_id: str) -> int:
        """Return a number that changes with the prediction; 0 when there is none."""
        path = self._path(image_id)
        return path.stat().st_mtime_ns if path.is_file() else 0

    def is_current(self, image_id: str, image: Volume, model: ModelRef) -> bool:
        """Return whether the cached prediction is that of a model for this very image.

        Args:
            image_id: The image.
            image: Its content.
            model: The model.
        """
        return self.weights_sha256(image_id) == model.weights_sha256 and self._about(image_id).get("image") == _sha256(image)

    def get(self, image_id: str, image: Volume) -> CachedPrediction:
        """Read a prediction.

        Args:
            image_id: The image.
            image: Its content; the prediction of an image that was replaced is not returned.

        Raises:
            NotFoundError: When there is no prediction, or it is that of another content.
        """
        with self._opened(image_id) as content:
            about, probability = json.loads(str(content["about"])), content["probability"]
        if about["image"] != _sha256(image):
            raise NotFoundError(f"The prediction for {image_id} is of an older image. Run the model again: POST /infer/.")
        return CachedPrediction(probability, float(about["threshold"]), ModelRef(**about["model"]), about.get("quality", ""))

    def _about(self, image_id: str) -> dict[str, Any]:
        """Return what is stated of a prediction; empty when there is none."""
        try:
            with self._opened(image_id) as content:
                return dict(json.loads(str(content["about"])))
        except NotFoundError:
            return {}

    @contextmanager
    def _opened(self, image_id: str) -> Iterator[Any]:
        """Open the arrays of an image; a damaged file is as good as none, and the next prediction replaces it."""
        missing = NotFoundError(f"There is no prediction for {image_id} yet. Run the model first: POST /infer/.")
        try:
            with self._path(image_id).open("rb") as stream, _loaded(stream) as content:
                yield content
        except FileNotFoundError:
            raise missing from None
        except (ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            _logger.warning("the cached prediction of %s is damaged, and made again: %r", image_id, error)
            raise missing from error

    def _path(self, image_id: str) -> Path:
        return self.folder / f"{image_id}.npz"


def _loaded(stream: BinaryIO) -> np.lib.npyio.NpzFile:
    content = np.load(stream, allow_pickle=False)
    if not isinstance(content, np.lib.npyio.NpzFile):
        raise zipfile.BadZipFile("it is no archive of arrays")
    return content


def _sha256(image: Volume) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(image.array).data)
    digest.update(image.affine.tobytes())
    return digest.hexdigest()


def to_float16_keeping_mask(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float16]:
    """Round a probability to half precision, but never across the threshold: the mask that annotators have seen stays the same.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        threshold: Lowest probability that counts as vessel.

    Returns:
        (x, y, z) float16 in [0, 1].
    """
    half = probability.astype(np.float16)
    above = np.float16(threshold)
    if np.float32(above) < np.float32(threshold):
        above = np.nextafter(above, np.float16(1))
    vessel = apply_threshold(probability, threshold)
    half[vessel] = np.maximum(half[vessel], above)
    half[~vessel] = np.minimum(half[~vessel], np.nextafter(above, np.float16(0)))
    return half
