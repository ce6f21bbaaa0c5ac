"""Train on what has been labelled, and publish only what is not worse."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from minivess.errors import InputError, NotFoundError
from minivess.metrics import dsc
from minivess.models import load_bundle, read_notes, weights_path
from minivess.paths import write_json
from minivess.review.desk import ReviewDesk
from minivess.train import Case, load_pair, load_reviewed, presets, publish, read_stats, train_bundle
from minivess.volume import write_volume
from settings import AppSettings

_OURS = "label app"


class VesselTrainTask(TrainTask):
    """Training of the bundle. MONAI Label runs it in a process of its own: all it knows is the request and the settings."""

    def __init__(self, bundle: Path, settings: AppSettings) -> None:
        """Take the bundle whose weights are to be replaced."""
        super().__init__("Train SegResNet on the final labels; published only when the held-out Dice does not fall")
        self.bundle = bundle
        self.settings = settings
        self.stats_file = settings.model_dir / "train_stats.json"
        self.desk: ReviewDesk | None = None  # the app sets it once it has a store

    def config(self) -> dict[str, Any]:
        """List what a client may set; the first entry of a list is the default."""
        others = [p for p in presets(self.bundle) if p != self.settings.preset]
        return {
            "preset": [self.settings.preset, *others],
            "max_epochs": 0,
            "val_split": 0.2,
            "pretrained": True,
            "seed": 0,
        }

    def stats(self) -> dict[str, Any]:
        """Say how far the last training is: small, since clients poll it."""
        stats = read_stats(self.stats_file)
        if stats.get("state") == "running" and not psutil.pid_exists(stats["pid"]):
            stats["state"] = "stopped"
        return stats

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, compare with the published model on the same held-out cases, publish or keep."""
        options = {**self.config(), **{k: v for k, v in request.items() if k in self.config()}}
        preset = options["preset"][0] if isinstance(options["preset"], list) else options["preset"]
        started: dict[str, Any] = {"start_ts": int(time.time()), "pid": os.getpid(), "state": "running"}
        write_json(self.stats_file, started)
        try:
            outcome = self._train(preset, options, datastore, started)
        except BaseException as error:
            write_json(self.stats_file, {**started, "state": f"failed: {error}"})
            raise
        write_json(self.stats_file, {**started, **outcome})
        return outcome

    def _train(self, preset: str, options: Mapping[str, Any], datastore: Datastore, started: dict[str, Any]) -> dict[str, Any]:
        current = weights_path(self.bundle)
        notes = read_notes(current) if current.is_file() else {}
        training, validation = split_by_subject(self._cases(datastore), float(options["val_split"]), notes)
        run = self.settings.model_dir / "runs" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        started |= {"run": run.name, "cases": len(training)}
        write_json(self.stats_file, started)
        # With use_pretrained_model=false only what this server has published itself counts.
        counts = current.is_file() and (self.settings.use_pretrained_model or notes.get("published_by") == _OURS)
        overrides: dict[str, Any] = {"seed": int(options["seed"]), "notes": {"published_by": _OURS}}
        if int(options["max_epochs"]) > 0:
            overrides["epochs"] = int(options["max_epochs"])
        result = train_bundle(
            self.bundle,
            training=training,
            validation=validation,
            output=run,
            preset=preset,
            init_weights=current if counts and options["pretrained"] else None,
            overrides=overrides,
            sealed=self.settings.sealed_test_set,
        )
        judges = validation or training
        after = mean_dice(self.bundle, result.weights, judges)
        before = mean_dice(self.bundle, current, judges) if counts else None
        better = before is None or after >= before
        if better:
            publish(result.weights, self.bundle)
        return {
            "state": "published" if better else "kept the published model: the new one is worse",
            "validation_dice": after,
            "published_dice_before": before,
            "held_out": result.held_out,
            "held_out_subjects": sorted({case.subject for case in validation}),
            "seconds": round(result.seconds, 1),
        }

    def _cases(self, datastore: Datastore) -> list[Case]:
        by_path = {datastore.get_image_uri(i): i for i in datastore.get_labeled_images()}
        cases = [
            Case(Path(row["image"]), Path(row["label"]), _subject(datastore, by_path[row["image"]]), unit=self.settings.unit)
            for row in datastore.datalist()
        ]
        cases += self._partly_reviewed(datastore, set(by_path.values()))
        if not cases:
            raise InputError(
                "There is no final label to train on, and no answered place. Submit a label first (next sample, correct it, "
                "submit), or answer places of the queue."
            )
        return cases

    def _partly_reviewed(self, datastore: Datastore, labelled: set[str]) -> list[Case]:
        """Write down what was accepted in images that have no final label: there, only the answered places count."""
        if self.desk is None:
            return []
        folder = self.settings.model_dir / "reviewed"
        folder.mkdir(parents=True, exist_ok=True)
        answered = {place.case for place in self.desk.store.places.answered() if place.answer.get("mask")}
        cases = []
        for image_id in sorted(answered - labelled):
            try:
                mask, reviewed = self.desk.mask(image_id)
            except NotFoundError:  # the image has gone, or was exchanged
                continue
            files = [folder / f"{image_id}_{name}.nii.gz" for name in ("label", "reviewed")]
            for file, array in zip(files, (mask.array, reviewed), strict=True):
                write_volume(mask.with_array(array.astype(np.uint8)), file)
            image = Path(datastore.get_image_uri(image_id))
            cases.append(Case(image, files[0], _subject(datastore, image_id), unit=self.settings.unit, reviewed=files[1]))
        return cases


def _subject(datastore: Datastore, image_id: str) -> str:
    return str(datastore.get_image_info(image_id).get("subject", image_id))


def mean_dice(bundle: Path, weights: Path, cases: list[Case]) -> float:
    """Score weights on what was reviewed of cases; old and new ones are judged by this one function."""
    segmenter, total = load_bundle(bundle, weights=weights), 0.0
    for case in cases:
        image, label = load_pair(case.to_item())
        reviewed = load_reviewed(case.to_item(), image)
        total += dsc(label.array & reviewed, segmenter.predict(image).mask.array & reviewed)
    return total / len(cases)


def split_by_subject(cases: list[Case], share: float, notes: Mapping[str, str]) -> tuple[list[Case], list[Case]]:
    """Hold out about ``share`` of the subjects; none where there are fewer than three.

    Who was held out from the published model stays held out, and who it learned from is never held out later: else the
    comparison of old and new would be with what one of them has seen.

    Args:
        cases: All labelled cases.
        share: Share of subjects to hold out.
        notes: Notes of the published weights: who was learned from, who was held out.

    Raises:
        InputError: When the share is not in [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise InputError(f"val_split {share} is not a share. Allowed: 0 up to, not including, 1.")
    subjects = sorted({case.subject for case in cases}, key=lambda s: sha256(s.encode()).hexdigest())
    wanted = max(1, round(share * len(subjects))) if share > 0 and len(subjects) >= 3 else 0
    before, learned = (set(json.loads(notes.get(key, "[]"))) for key in ("held_out_subjects", "training_subjects"))
    kept = [s for s in subjects if s in before]
    fresh = [s for s in subjects if s not in before | learned]
    held_out = set([*kept, *fresh][:wanted])
    return [c for c in cases if c.subject not in held_out], [c for c in cases if c.subject in held_out]
