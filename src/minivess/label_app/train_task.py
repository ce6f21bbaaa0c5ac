"""Train on the submitted labels and answered regions; publish the new weights only when they are not worse."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from minivess.errors import InputError, MinivessError, NotFoundError
from minivess.evaluate import ReviewedCase, SubjectHistory, promote_if_not_worse, split_by_subject
from minivess.label_app.settings import AppSettings
from minivess.models import load_bundle, read_metadata, weights_path
from minivess.paths import write_json
from minivess.review.service import ReviewService
from minivess.train import TrainingCase, load_pair, load_reviewed, presets, publish, read_stats, train_bundle
from minivess.volume import write_volume

logger = logging.getLogger(__name__)
#: ``published_by`` in the metadata of weights that this app has published.
_PUBLISHER = "label app"


class VesselTrainTask(TrainTask):
    """Training of the bundle. MONAI Label runs it in a process of its own: it knows the request and the settings only."""

    def __init__(self, bundle: Path, settings: AppSettings, review: ReviewService | None = None) -> None:
        """Prepare the training of a bundle.

        Args:
            bundle: Folder of the bundle whose weights are to be replaced.
            settings: Settings of the app.
            review: The review, whose answered regions are training data, too.
        """
        super().__init__("Train the model on the final labels; published only when the held-out Dice does not decrease")
        self.bundle = bundle
        self.settings = settings
        self.review = review
        self._unreadable: dict[str, str] = {}
        self.stats_file = settings.model_dir / "train_stats.json"

    def config(self) -> dict[str, Any]:
        """Return what a client may set; the first entry of a list is the default."""
        others = [name for name in presets(self.bundle) if name != self.settings.preset]
        return {
            "preset": [self.settings.preset, *others],
            "max_epochs": 0,
            "val_split": 0.2,
            "pretrained": True,
            "seed": 0,
        }

    def stats(self) -> dict[str, Any]:
        """Return the progress of the last training: few values, since clients poll it."""
        stats = read_stats(self.stats_file)
        if stats.get("state") == "running" and not psutil.pid_exists(stats["pid"]):
            stats["state"] = "stopped"
        return stats

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and publish the new weights when they are not worse.

        Args:
            request: Values for keys of :meth:`config`; other keys are ignored.
            datastore: Images and labels.
        """
        options = {**self.config(), **{key: value for key, value in request.items() if key in self.config()}}
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
        metadata = read_metadata(current) if current.is_file() else {}
        history = SubjectHistory.from_metadata(metadata)
        cases, left_out = usable_cases(self._cases(datastore))
        left_out |= self._unreadable
        training, validation = split_by_subject(cases, float(options["val_split"]), history)
        run = self.settings.model_dir / "runs" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        started |= {"run": run.name, "cases": len(training), "left_out": left_out}
        write_json(self.stats_file, started)
        # With use_pretrained_model=false only weights count that this server has published itself.
        counts = current.is_file() and (self.settings.use_pretrained_model or metadata.get("published_by") == _PUBLISHER)
        overrides: dict[str, Any] = {"seed": int(options["seed"]), "notes": {"published_by": _PUBLISHER}}
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
        promotion = promote_if_not_worse(
            load_bundle(self.bundle, weights=result.weights),
            load_bundle(self.bundle, weights=current) if counts else None,
            lambda: _read_cases(validation or training),
            lambda: publish(result.weights, self.bundle),
        )
        return {
            **promotion.to_json(),
            "held_out": result.held_out,
            "held_out_subjects": sorted({case.subject for case in validation}),
            "seconds": round(result.seconds, 1),
        }

    def _cases(self, datastore: Datastore) -> list[TrainingCase]:
        by_path = {datastore.get_image_uri(i): i for i in datastore.get_labeled_images()}
        cases = [
            TrainingCase(
                Path(row["image"]), Path(row["label"]), _subject(datastore, by_path[row["image"]]), unit=self.settings.unit
            )
            for row in datastore.datalist()
        ]
        cases += self._partly_reviewed(datastore, set(by_path.values()))
        if not cases:
            raise InputError(
                "There is no final label and no answered region to train on. Submit a label first (next sample, correct it, "
                "submit), or answer regions of the queue."
            )
        return cases

    def _partly_reviewed(self, datastore: Datastore, labelled: set[str]) -> list[TrainingCase]:
        """Write the accepted regions of images that have no final label; only these voxels count in the training."""
        if self.review is None:
            return []
        folder = self.settings.model_dir / "reviewed"
        folder.mkdir(parents=True, exist_ok=True)
        answered = {item.image_id for item in self.review.store.queue.answered() if item.answer and item.answer.mask}
        cases = []
        for image_id in sorted(answered - labelled):
            try:
                mask, reviewed = self.review.mask(image_id)
            except NotFoundError:  # the image was removed
                continue
            except MinivessError as error:
                self._unreadable[image_id] = str(error)
                continue
            files = [folder / f"{image_id}_{name}.nii.gz" for name in ("label", "reviewed")]
            for file, array in zip(files, (mask.array, reviewed), strict=True):
                write_volume(mask.with_array(array.astype(np.uint8)), file)
            image = Path(datastore.get_image_uri(image_id))
            subject = _subject(datastore, image_id)
            cases.append(TrainingCase(image, files[0], subject, unit=self.settings.unit, reviewed=files[1]))
        return cases


def usable_cases(cases: Sequence[TrainingCase]) -> tuple[list[TrainingCase], dict[str, str]]:
    """Read each case once, and leave out those that cannot be read or whose label is not on the grid of the image.

    Returns:
        The cases that can be used; and name -> reason of those that are left out.

    Raises:
        InputError: When none is left.
    """
    usable, left_out = [], {}
    for case in cases:
        try:
            image, _ = load_pair(case.to_item())
            load_reviewed(case.to_item(), image)
            usable.append(case)
        except MinivessError as error:
            left_out[case.name] = str(error)
            logger.warning("the training goes on without %s: %s", case.name, error)
    if not usable:
        raise InputError(f"No case can be used for training. The first: {next(iter(left_out.values()))}")
    return usable, left_out


def _subject(datastore: Datastore, image_id: str) -> str:
    return str(datastore.get_image_info(image_id).get("subject", image_id))


def _read_cases(cases: Sequence[TrainingCase]) -> Iterator[ReviewedCase]:
    for case in cases:
        image, label = load_pair(case.to_item())
        yield ReviewedCase(image, label, load_reviewed(case.to_item(), image))
