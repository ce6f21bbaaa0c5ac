"""Predictions on disk, so that places, pictures and heat maps need not be computed again; they can be lost and made anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import NotFoundError
from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.paths import atomic_file
from minivess.volume import Volume


class KeptPredictions:
    """The last prediction of each image, in half precision."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it is made when the first prediction is kept."""
        self.folder = folder

    def put(self, image_id: str, image: Volume, prediction: Prediction) -> None:
        """Keep a prediction in place of an older one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"image": _hash(image), "model": prediction.model.to_json(), "threshold": prediction.threshold})
        probability = halved(prediction.probability.array, prediction.threshold)
        with atomic_file(self._path(image_id)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, probability=probability, about=np.array(about))

    def model(self, image_id: str) -> str:
        """Say which weights the kept prediction is from, by their SHA-256; empty where there is none."""
        return str(self._about(image_id)["model"]["weights_sha256"]) if self._path(image_id).is_file() else ""

    def stamp(self, image_id: str) -> int:
        """Give a number that changes with the prediction; 0 where there is none."""
        path = self._path(image_id)
        return path.stat().st_mtime_ns if path.is_file() else 0

    def has(self, image_id: str, image: Volume, model: ModelRef) -> bool:
        """Tell whether what is kept is what this model thinks of this very image."""
        return self.model(image_id) == model.weights_sha256 and self._about(image_id)["image"] == _hash(image)

    def get(self, image_id: str, image: Volume) -> Prediction:
        """Read a prediction, on the grid of its image.

        Raises:
            NotFoundError: When none is kept, or it is of another image.
        """
        path = self._path(image_id)
        if not path.is_file():
            raise NotFoundError(f"There is no prediction of {image_id} yet. Ask the model first: POST /infer/.")
        with np.load(path, allow_pickle=False) as kept:
            probability = kept["probability"].astype(np.float32)
        about = self._about(image_id)
        if about["image"] != _hash(image):
            raise NotFoundError(f"The prediction of {image_id} is of an older image. Ask the model again: POST /infer/.")
        uncertainty = image.with_array(binary_entropy(probability))
        return Prediction(image.with_array(probability), uncertainty, ModelRef(**about["model"]), float(about["threshold"]))

    def _about(self, image_id: str) -> dict[str, Any]:
        with np.load(self._path(image_id), allow_pickle=False) as kept:
            about: dict[str, Any] = json.loads(str(kept["about"]))
            return about

    def _path(self, image_id: str) -> Path:
        return self.folder / f"{image_id}.npz"


def _hash(image: Volume) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(image.array).data)
    digest.update(image.affine.tobytes())
    return digest.hexdigest()


def halved(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float16]:
    """Round to half precision, but never across the threshold: the mask that people have seen stays what it was."""
    half = probability.astype(np.float16)
    above = np.float16(threshold)
    if np.float32(above) < np.float32(threshold):
        above = np.nextafter(above, np.float16(1))
    vessel = probability >= np.float32(threshold)
    half[vessel] = np.maximum(half[vessel], above)
    half[~vessel] = np.minimum(half[~vessel], np.nextafter(above, np.float16(0)))
    return half
