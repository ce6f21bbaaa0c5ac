"""Choose the image that should be labelled next."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from minivess.label_app.scores import ScoreFile
from minivess.models import weights_path
from minivess.paths import known_sha256
from minivess.uncertainty import acquisition

_logger = logging.getLogger(__name__)
#: Name of the strategy -> acquisition function, and the reason that clients show.
BY_SCORE: dict[str, tuple[acquisition.Strategy, str]] = {
    "uncertainty": ("errors", "most expected errors per predicted voxel"),
    "foreground": ("foreground", "sampled at random, two times in three by the predicted amount of vessel"),
    "power": ("power", "sampled at random by entropy, two times in three by that of the predicted vessels"),
}


class RandomStrategy(Strategy):
    """Any image without a label. MONAI Label's own strategy fails when the only one left was served within the same second."""

    def __init__(self) -> None:
        """Set the description."""
        super().__init__("Random Strategy")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image; None when every image is labelled.

        Args:
            request: Not used.
            datastore: Images and labels.
        """
        images = sorted(datastore.get_unlabeled_images())
        return {"id": images[np.random.default_rng().integers(len(images))], "weight": 1.0} if images else None


class ScoreStrategy(Strategy):
    """An unlabelled image, chosen by its scores; the answer states the reason."""

    def __init__(self, name: str, bundle: Path, scores: ScoreFile) -> None:
        """Choose by scores.

        Args:
            name: Key of :data:`BY_SCORE`.
            bundle: Folder of the bundle whose scores count.
            scores: File of the scores.
        """
        self.strategy, self.reason = BY_SCORE[name]
        super().__init__(f"{self.reason[0].upper()}{self.reason[1:]}")
        self.name = name
        self.bundle = bundle
        self.scores = scores

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image; None when every image is labelled.

        Args:
            request: Not used.
            datastore: Images and labels.
        """
        images = sorted(datastore.get_unlabeled_images())
        if not images:
            return None
        path = weights_path(self.bundle)
        model = known_sha256(path) if path.is_file() else None
        known = {i: s for i, s in self.scores.read("uncertainty").items() if i in images and "choice" in s}
        fresh = {i: s for i, s in known.items() if s["model_sha256"] == model}
        if fresh:
            unscored = len(images) - len(fresh)
            reason = self.reason + (f"; {unscored} images have no score yet" if unscored else "")
            return self._answer(self._choose(fresh), known, reason, datastore)
        if known:
            reason = "ranked by an older model; the scores of the current one are being computed"
            return self._answer(self._choose(known), known, reason, datastore)
        reason = "chosen at random: " + ("there is no score yet" if model else "there is no trained model yet")
        return self._answer(images[np.random.default_rng().integers(len(images))], {}, reason, datastore)

    def _choose(self, scores: Mapping[str, dict[str, Any]]) -> str:
        images = sorted(scores)
        rows = np.array([scores[image]["choice"] for image in images])
        return images[acquisition.choose(rows, self.strategy, 1, np.random.default_rng())[0]]

    def _answer(self, image: str, scores: Mapping[str, dict[str, Any]], reason: str, datastore: Datastore) -> dict[str, Any]:
        _logger.info("next sample: %s", reason)
        score = scores.get(image, {})
        info = {"reason": reason, "ts": int(time.time()), **score}
        datastore.update_image_info(image, {"minivess_uncertainty": info})
        return {
            "id": image,
            "weight": score.get("score", 0.0),
            "reason": reason,
            "strategy_used": self.name if score else "random",
        }
