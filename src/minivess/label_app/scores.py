"""Scores of images and labels, computed in the background and written to one file beside the model.

Not to MONAI Label's index: each of its processes rewrites that file from its own memory, and a score written by one process
would overwrite a label submitted to another.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.scoring import ScoringMethod

from minivess.datasets import load_pair
from minivess.errors import CancelledError, DeadlineError, InputError, MinivessError
from minivess.jobs import current_job
from minivess.label_app.infer_task import VesselInferTask
from minivess.label_app.settings import AppSettings
from minivess.label_app.studies import read_study_image
from minivess.metrics import cldice, dsc
from minivess.models import Prediction, weights_path
from minivess.paths import known_sha256, write_json
from minivess.uncertainty import expected_errors_per_predicted_voxel, soft_dice_confidence
from minivess.uncertainty.acquisition import patch_scores

_logger = logging.getLogger(__name__)


class ScoreFile:
    """``{method: {image: {...}}}`` in JSON, replaced atomically. One scoring runs at a time and is the only writer."""

    def __init__(self, path: Path) -> None:
        """Use a file; it may not exist yet."""
        self.path = path

    def read(self, method: str) -> dict[str, dict[str, Any]]:
        """Return image id -> score of a method."""
        return dict(self._content().get(method, {}))

    def _content(self) -> dict[str, Any]:
        """Return what is in the file; nothing where it is damaged: its scores are computed again."""
        if not self.path.is_file():
            return {}
        try:
            return dict(json.loads(self.path.read_text()))
        except (ValueError, TypeError) as error:
            _logger.warning("%s is damaged (%s): images are scored again", self.path.name, error)
            return {}

    def write(self, method: str, image: str, score: dict[str, Any]) -> None:
        """Add or replace the score of one image.

        Args:
            method: Name of the method.
            image: The image.
            score: Its score.
        """
        content = self._content()
        content.setdefault(method, {})[image] = score
        write_json(self.path, content)

    def highest(self, images: Collection[str], count: int = 5) -> dict[str, Any]:
        """Return the images with the most expected errors per predicted voxel.

        Args:
            images: Only these images.
            count: Number of images.
        """
        scores = {i: s["score"] for i, s in self.read("uncertainty").items() if i in images and "score" in s}
        first = sorted(scores, key=lambda image: (-scores[image], image))[:count]
        return {"scored": len(scores), "worst": [{"image": image, "score": round(scores[image], 4)} for image in first]}


class UncertaintyScoring(ScoringMethod):
    """Expected errors per predicted voxel, for every unlabelled image without a score of the current model."""

    def __init__(self, task: VesselInferTask, scores: ScoreFile, settings: AppSettings) -> None:
        """Use the model that answers clicks.

        Args:
            task: The model.
            scores: File of the scores.
            settings: Settings of the app.
        """
        super().__init__("Expected errors per predicted voxel of the current model")
        self.task = task
        self.scores = scores
        self.settings = settings

    def is_due(self, datastore: Datastore) -> bool:
        """Return whether an image needs a score."""
        return bool(self._due(datastore))

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score the images that need it; one that cannot be read is reported and does not stop the others.

        Args:
            request: Not used.
            datastore: Images and labels.
        """
        due, job, done = self._due(datastore), current_job(), dict[str, Any]()
        for image in job.parts(due, "image"):
            done[image] = {"model_sha256": known_sha256(weights_path(self.task.bundle)), "ts": int(time.time())}
            file = _file_of(datastore, image)
            try:
                volume = read_study_image(Path(datastore.get_image_uri(image)), self.settings.unit)
                prediction = self.task.predict(volume, job=job)
                done[image]["model_sha256"] = prediction.model.weights_sha256
                done[image] |= case_scores(prediction)
                datastore.update_image_info(image, {"minivess_uncertainty": done[image]})
                self.task.enqueue_regions(image, prediction, "server")
            except (CancelledError, DeadlineError):
                raise
            except (MinivessError, HTTPException) as error:  # the datastore raises HTTP errors
                done[image] = {**_stamp_of(done[image]), "error": str(getattr(error, "detail", error)), "file": file}
            except Exception as error:  # one image never stops the others
                _logger.exception("the uncertainty of image %s could not be computed", image)
                done[image] = {**_stamp_of(done[image]), "error": f"{type(error).__name__}: {error}", "file": file}
            self.scores.write("uncertainty", image, done[image])
        _logger.info(
            "uncertainty of %d images computed, %d of them could not be read",
            len(done),
            sum("error" in row for row in done.values()),
        )
        return done

    def _due(self, datastore: Datastore) -> list[str]:
        path = weights_path(self.task.bundle)
        if not path.is_file():
            return []
        model, known = known_sha256(path), self.scores.read("uncertainty")
        images = sorted(i for i in datastore.get_unlabeled_images() if datastore.is_local(i))  # nothing is downloaded for it
        of_model = {i: s for i, s in known.items() if s.get("model_sha256") == model}

        def scored(image: str) -> bool:  # one that could not be read may have been copied completely since
            row = of_model.get(image, {})
            return "choice" in row or ("error" in row and row.get("file") == _file_of(datastore, image))

        due = [i for i in images if not scored(i)]
        limit = self.settings.epistemic_max_samples
        return due[:limit] if limit else due


def _file_of(datastore: Datastore, image: str) -> list[int]:
    """Return what changes with the file of an image: time and size; empty where there is none."""
    try:
        about = Path(datastore.get_image_uri(image)).stat()
    except (OSError, MinivessError, HTTPException):
        return []
    return [about.st_mtime_ns, about.st_size]


def _stamp_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("model_sha256", "ts")}


def case_scores(prediction: Prediction) -> dict[str, Any]:
    """Compute the scores of a prediction: its expected quality, and what the strategies choose by.

    Returns:
        ``score``: expected errors per predicted voxel; ``soft_dice_confidence``; and ``choice``: a row of
        :func:`minivess.uncertainty.acquisition.patch_scores` for the whole volume, its second value the score.
    """
    probability = prediction.probability.array
    score = expected_errors_per_predicted_voxel(probability, prediction.threshold)
    row = patch_scores(probability, probability.shape, threshold=prediction.threshold).ravel()
    row[1] = score
    if not np.isfinite(row).all():
        raise InputError("The prediction has no finite score. Check the values of the image, and the weights of the model.")
    confidence = soft_dice_confidence(probability, prediction.threshold)
    return {"score": score, "soft_dice_confidence": confidence, "choice": [float(value) for value in row]}


class SumScoring(ScoringMethod):
    """Number of labelled voxels of each final label; MONAI Label's ``sum``, from what is recorded with the labels."""

    def __init__(self) -> None:
        """Name the score."""
        super().__init__("Number of labelled voxels of the final labels")

    def is_due(self, datastore: Datastore) -> bool:
        """Return False: it is computed when somebody asks."""
        return False

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Return image id -> ``{"sum": number of voxels}``.

        Args:
            request: Not used.
            datastore: Images and labels.
        """
        tag = DefaultLabelTag.FINAL.value
        infos = {image: datastore.get_label_info(image, tag) for image in datastore.get_labeled_images(tag)}
        # a label that was withdrawn meanwhile has no info
        return {image: {"sum": sum(info["minivess"]["voxels"].values())} for image, info in infos.items() if info}


class DiceScoring(ScoringMethod):
    """Dice and clDice of the stored prediction (tag ``original``) against the annotator's label (tag ``final``)."""

    def __init__(self, scores: ScoreFile, settings: AppSettings) -> None:
        """Use a file for the scores.

        Args:
            scores: File of the scores.
            settings: Settings of the app.
        """
        super().__init__("Dice and clDice between prediction (original) and label (final)")
        self.scores = scores
        self.settings = settings

    def is_due(self, datastore: Datastore) -> bool:
        """Return whether a pair of prediction and label needs a score."""
        return bool(self._due(datastore))

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score the pairs that need it.

        Args:
            request: Not used.
            datastore: Images and labels.
        """
        due, job, done = self._due(datastore), current_job(), dict[str, Any]()
        for image, stamp in job.parts(due.items(), "image"):
            done[image] = {"pair": stamp, "ts": int(time.time())}
            try:
                final, original = (datastore.get_label_uri(image, tag) for tag in ("final", "original"))
                # the label is reoriented to the grid of the prediction
                prediction, label = load_pair({"image": original, "label": final, "unit": self.settings.unit})
                masks = (label.array > 0, prediction.array > 0)
                done[image] |= {"dice": dsc(*masks), "cldice": cldice(*masks)}
            except (MinivessError, HTTPException) as error:
                done[image]["error"] = str(getattr(error, "detail", error))
            self.scores.write("dice", image, done[image])
        return done

    def _due(self, datastore: Datastore) -> dict[str, str]:
        known = self.scores.read("dice")
        due = {}
        for image in sorted(datastore.get_labeled_images()):
            try:
                files = [Path(datastore.get_label_uri(image, tag)) for tag in ("final", "original")]
            except HTTPException as error:  # a label is damaged
                _logger.warning("%s", error.detail)
                continue
            if all(f.is_file() for f in files):
                stamp = "-".join(str(f.stat().st_mtime_ns) for f in files)
                if known.get(image, {}).get("pair") != stamp:
                    due[image] = stamp
        return due
