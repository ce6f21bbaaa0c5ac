"""Train on what has been labelled, and publish only what is not worse."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from minivess.errors import InputError
from minivess.metrics import dsc
from minivess.models import load_bundle, weights_path
from minivess.paths import write_json
from minivess.train import Case, presets, publish, read_stats, train_bundle
from minivess.volume import read_volume
from settings import AppSettings


class VesselTrainTask(TrainTask):
    """Training of the bundle. MONAI Label runs it in a process of its own: all it knows is the request and the settings."""

    def __init__(self, bundle: Path, settings: AppSettings) -> None:
        """Take the bundle whose weights are to be replaced."""
        super().__init__("Train SegResNet on the final labels; published only when the held-out Dice does not fall")
        self.bundle = bundle
        self.settings = settings
        self.stats_file = settings.model_dir / "train_stats.json"

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
        return read_stats(self.stats_file)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, compare with the published model on the same held-out cases, publish or keep."""
        options = {**self.config(), **{k: v for k, v in request.items() if k in self.config()}}
        preset = options["preset"][0] if isinstance(options["preset"], list) else options["preset"]
        training, validation = split_by_subject(self._cases(datastore), float(options["val_split"]))
        run = self.settings.model_dir / "runs" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        current = weights_path(self.bundle)
        start_from = current if options["pretrained"] and self.settings.use_pretrained_model and current.is_file() else None
        overrides: dict[str, Any] = {"seed": int(options["seed"]), "notes": {"cases": str(len(training))}}
        if int(options["max_epochs"]) > 0:
            overrides["epochs"] = int(options["max_epochs"])
        started = {"start_ts": int(time.time()), "run": run.name, "state": "running", "cases": len(training)}
        write_json(self.stats_file, started)
        result = train_bundle(
            self.bundle,
            training=training,
            validation=validation,
            output=run,
            preset=preset,
            init_weights=start_from,
            overrides=overrides,
        )
        before = self._dice_of_published(validation or training)
        better = before is None or result.validation_dice >= before
        if better:
            publish(result.weights, self.bundle)
        outcome = {
            "state": "published" if better else "kept the published model: the new one is worse",
            "validation_dice": result.validation_dice,
            "published_dice_before": before,
            "held_out": result.held_out,
            "seconds": round(result.seconds, 1),
        }
        write_json(self.stats_file, {**started, **outcome})
        return outcome

    def _cases(self, datastore: Datastore) -> list[Case]:
        rows = datastore.datalist()
        if not rows:
            raise InputError("There is no final label to train on. Submit one first: next sample, correct it, submit.")
        by_path = {datastore.get_image_uri(i): i for i in datastore.get_labeled_images()}
        cases = []
        for row in rows:
            image_id = by_path[row["image"]]
            subject = str(datastore.get_image_info(image_id).get("subject", image_id))
            cases.append(Case(Path(row["image"]), Path(row["label"]), subject, unit=self.settings.unit))
        return cases

    def _dice_of_published(self, cases: list[Case]) -> float | None:
        if not weights_path(self.bundle).is_file() or not self.settings.use_pretrained_model:
            return None
        segmenter = load_bundle(self.bundle)
        scores = []
        for case in cases:
            image, label = (read_volume(p, unit=case.unit) for p in (case.image, case.label))
            scores.append(dsc(label.array > 0, segmenter.predict(image).mask.array))
        return sum(scores) / len(scores)


def split_by_subject(cases: list[Case], share: float) -> tuple[list[Case], list[Case]]:
    """Hold out about ``share`` of the subjects, the same ones each time; none where there are fewer than three.

    Raises:
        InputError: When the share is not in [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise InputError(f"val_split {share} is not a share. Allowed: 0 up to, not including, 1.")
    subjects = sorted({case.subject for case in cases}, key=lambda s: sha256(s.encode()).hexdigest())
    count = max(1, round(share * len(subjects))) if share > 0 and len(subjects) >= 3 else 0
    held_out = set(subjects[:count])
    return [c for c in cases if c.subject not in held_out], [c for c in cases if c.subject in held_out]
