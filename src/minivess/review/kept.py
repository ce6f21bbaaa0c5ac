"""Predictions on disk, so that places, pictures and heat maps need not be computed again; they can be lost and made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from minivess.errors import NotFoundError
from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.paths import atomic_file
from minivess.volume import Volume


class KeptPredictions:
    """The last prediction of each image, in half precision."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it is made when the first prediction is kept."""
        self.folder = folder

    def put(self, image_id: str, prediction: Prediction) -> None:
        """Keep a prediction in place of an older one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"model": prediction.model.to_json(), "threshold": prediction.threshold})
        probability = prediction.probability.array.astype(np.float16)
        with atomic_file(self._path(image_id)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, probability=probability, about=np.array(about))

    def model(self, image_id: str) -> str:
        """Say which weights the kept prediction is from, by their SHA-256; empty where there is none."""
        return str(self._about(image_id)["model"]["weights_sha256"]) if self._path(image_id).is_file() else ""

    def get(self, image_id: str, image: Volume) -> Prediction:
        """Read a prediction, on the grid of its image.

        Raises:
            NotFoundError: When none is kept, or it is of another grid.
        """
        path = self._path(image_id)
        if not path.is_file():
            raise NotFoundError(f"There is no prediction of {image_id} yet. Ask the model first: POST /infer/.")
        with np.load(path, allow_pickle=False) as kept:
            probability = kept["probability"].astype(np.float32)
        if probability.shape != image.shape:
            raise NotFoundError(f"The prediction of {image_id} is of an older image. Ask the model again: POST /infer/.")
        about = self._about(image_id)
        uncertainty = image.with_array(binary_entropy(probability))
        return Prediction(image.with_array(probability), uncertainty, ModelRef(**about["model"]), float(about["threshold"]))

    def _about(self, image_id: str) -> dict[str, Any]:
        with np.load(self._path(image_id), allow_pickle=False) as kept:
            about: dict[str, Any] = json.loads(str(kept["about"]))
            return about

    def _path(self, image_id: str) -> Path:
        return self.folder / f"{image_id}.npz"
