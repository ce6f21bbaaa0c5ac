"""Scores of images and labels, computed in the background and kept in one file beside the model.

Not in MONAI Label's index: each of its processes rewrites that file from its own memory, and a score written by one would
wipe a label submitted to another.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from infer_task import VesselInferTask, read_image
from minivess.errors import CancelledError, DeadlineError, MinivessError
from minivess.jobs import current_job
from minivess.metrics import cldice, dsc
from minivess.models import Prediction, weights_path
from minivess.paths import sha256_of, write_json
from minivess.train import load_pair
from minivess.uncertainty import expected_errors_per_predicted_voxel, soft_dice_confidence
from minivess.uncertainty.acquisition import patch_scores
from settings import AppSettings

logger = logging.getLogger(__name__)


class ScoreFile:
    """``{method: {image: {...}}}`` in JSON, replaced atomically; one scoring runs at a time, and is its only writer."""

    def __init__(self, path: Path) -> None:
        """Take the file; it may not exist yet."""
        self.path = path

    def read(self, method: str) -> dict[str, dict[str, Any]]:
        """Read the scores of a method."""
        if not self.path.is_file():
            return {}
        scores: dict[str, dict[str, Any]] = json.loads(self.path.read_text()).get(method, {})
        return scores

    def write(self, method: str, image: str, score: dict[str, Any]) -> None:
        """Add or replace the score of one image."""
        content = json.loads(self.path.read_text()) if self.path.is_file() else {}
        content.setdefault(method, {})[image] = score
        write_json(self.path, content)

    def worst(self, images: Collection[str], count: int = 5) -> dict[str, Any]:
        """Tell of the images with the most expected errors per predicted voxel, for people who look at ``/info/``."""
        scores = {i: s["score"] for i, s in self.read("uncertainty").items() if i in images and "score" in s}
        first = sorted(scores, key=lambda image: (-scores[image], image))[:count]
        return {"scored": len(scores), "worst": [{"image": image, "score": round(scores[image], 4)} for image in first]}


class UncertaintyScoring(ScoringMethod):
    """Expected errors per predicted voxel, for every unlabelled image that the current model has not seen."""

    def __init__(self, task: VesselInferTask, scores: ScoreFile, settings: AppSettings) -> None:
        """Take the model, which is the one that answers clicks, and where scores are kept."""
        super().__init__("Expected errors per predicted voxel of the current model")
        self.task = task
        self.scores = scores
        self.settings = settings

    def is_due(self, datastore: Datastore) -> bool:
        """Tell whether an image waits for a score."""
        return bool(self._waiting(datastore))

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score the images that wait; an unreadable one is reported and does not stop the others."""
        waiting, job, done = self._waiting(datastore), current_job(), dict[str, Any]()
        for image in job.parts(waiting, "image"):
            done[image] = {"model_sha256": sha256_of(weights_path(self.task.bundle)), "ts": int(time.time())}
            try:
                volume = read_image(Path(datastore.get_image_uri(image)), self.settings)
                prediction = self.task.predict(volume, job=job)
                done[image]["model_sha256"] = prediction.model.weights_sha256
                done[image] |= case_scores(prediction)
                datastore.update_image_info(image, {"minivess_uncertainty": done[image]})
                self.task.ask_about(image, prediction, "server")
            except (CancelledError, DeadlineError):
                raise
            except (MinivessError, HTTPException) as error:  # a datastore answers in HTTP
                done[image]["error"] = str(getattr(error, "detail", error))
            self.scores.write("uncertainty", image, done[image])
        logger.info("uncertainty of %d images, %d of them unreadable", len(done), sum("error" in row for row in done.values()))
        return done

    def _waiting(self, datastore: Datastore) -> list[str]:
        path = weights_path(self.task.bundle)
        if not path.is_file():
            return []
        model, known = sha256_of(path), self.scores.read("uncertainty")
        images = sorted(i for i in datastore.get_unlabeled_images() if datastore.is_here(i))  # no archive is emptied for it
        scored = {i for i, s in known.items() if s.get("model_sha256") == model and ("choice" in s or "error" in s)}
        waiting = [i for i in images if i not in scored]
        limit = self.settings.epistemic_max_samples
        return waiting[:limit] if limit else waiting


def case_scores(prediction: Prediction) -> dict[str, Any]:
    """Say how good a prediction is likely to be, and what the strategies choose by.

    Returns:
        ``score``: expected errors per predicted voxel; ``soft_dice_confidence``; and ``choice``: a row of
        :func:`minivess.uncertainty.acquisition.patch_scores` for the whole volume, its second value the score.
    """
    probability = prediction.probability.array
    score = expected_errors_per_predicted_voxel(probability, prediction.threshold)
    row = patch_scores(probability, probability.shape, threshold=prediction.threshold).ravel()
    row[1] = score
    confidence = soft_dice_confidence(probability, prediction.threshold)
    return {"score": score, "soft_dice_confidence": confidence, "choice": [float(value) for value in row]}


class DiceScoring(ScoringMethod):
    """Dice and clDice of the stored prediction (tag ``original``) against the annotator's label (tag ``final``)."""

    def __init__(self, scores: ScoreFile, settings: AppSettings) -> None:
        """Take where scores are kept."""
        super().__init__("Dice and clDice between prediction (original) and label (final)")
        self.scores = scores
        self.settings = settings

    def is_due(self, datastore: Datastore) -> bool:
        """Tell whether a pair waits for a score."""
        return bool(self._waiting(datastore))

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score the pairs that wait."""
        waiting, job, done = self._waiting(datastore), current_job(), dict[str, Any]()
        for image, stamp in job.parts(waiting.items(), "image"):
            final, original = (datastore.get_label_uri(image, tag) for tag in ("final", "original"))
            done[image] = {"pair": stamp, "ts": int(time.time())}
            try:  # the prediction gives the grid, the label is laid on it
                prediction, label = load_pair({"image": original, "label": final, "unit": self.settings.unit})
                masks = (label.array > 0, prediction.array > 0)
                done[image] |= {"dice": dsc(*masks), "cldice": cldice(*masks)}
            except MinivessError as error:
                done[image]["error"] = str(error)
            self.scores.write("dice", image, done[image])
        return done

    def _waiting(self, datastore: Datastore) -> dict[str, str]:
        known = self.scores.read("dice")
        waiting = {}
        for image in sorted(datastore.get_labeled_images()):
            files = [Path(datastore.get_label_uri(image, tag)) for tag in ("final", "original")]
            if all(f.is_file() for f in files):
                stamp = "-".join(str(f.stat().st_mtime_ns) for f in files)
                if known.get(image, {}).get("pair") != stamp:
                    waiting[image] = stamp
        return waiting
