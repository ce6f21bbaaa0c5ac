"""Which image should be labelled next."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from minivess.models import weights_path
from minivess.paths import sha256_of
from scoring import ScoreFile

logger = logging.getLogger(__name__)


class AtRandom(Strategy):
    """Any image without a label; MONAI Label's own fails when the only one left was served within this second."""

    def __init__(self) -> None:
        """Take nothing."""
        super().__init__("Random Strategy")

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image; None when every image is labelled."""
        images = sorted(datastore.get_unlabeled_images())
        return {"id": random.choice(images), "weight": 1.0} if images else None  # noqa: S311 (no secret)


class MostUncertain(Strategy):
    """The unlabelled image with the most expected errors per predicted voxel; the answer says what it was chosen by."""

    def __init__(self, bundle: Path, scores: ScoreFile) -> None:
        """Take the model whose scores count, and where they are kept."""
        super().__init__("Most expected errors per predicted voxel first")
        self.bundle = bundle
        self.scores = scores

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image; None when every image is labelled."""
        images = sorted(datastore.get_unlabeled_images())
        if not images:
            return None
        path = weights_path(self.bundle)
        model = sha256_of(path) if path.is_file() else None
        known = {i: s for i, s in self.scores.read("uncertainty").items() if i in images and "score" in s}
        fresh = {i: s for i, s in known.items() if s["model_sha256"] == model}
        if fresh:
            best = max(fresh, key=lambda i: (fresh[i]["score"], i))
            unscored = len(images) - len(fresh)
            reason = "most expected errors per predicted voxel" + (f"; {unscored} images have no score yet" if unscored else "")
            return self._answer(best, known[best], reason, datastore)
        if known:
            best = max(known, key=lambda i: (known[i]["score"], i))
            return self._answer(
                best, known[best], "ranked by an older model; the scores of the current one are under way", datastore
            )
        reason = "chosen at random: " + ("no score is ready yet" if model else "there is no trained model yet")
        return self._answer(
            random.choice(images),  # noqa: S311 (no secret)
            None,
            reason,
            datastore,
        )

    def _answer(self, image: str, score: dict[str, Any] | None, reason: str, datastore: Datastore) -> dict[str, Any]:
        logger.info("next sample: %s", reason)
        info = {"reason": reason, "ts": int(time.time()), **(score or {})}
        datastore.update_image_info(image, {"minivess_uncertainty": info})
        return {
            "id": image,
            "weight": score["score"] if score else 0.0,
            "reason": reason,
            "strategy_used": "uncertainty" if score else "random",
        }
