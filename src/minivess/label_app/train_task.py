"""Train on the submitted labels and answered places; publish the new weights only when they pass the gate."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from minivess.datasets import TrainingCase, load_pair, load_reviewed
from minivess.errors import InputError, MinivessError, UsageError
from minivess.evaluate import SubjectHistory, split_by_subject
from minivess.label_app.settings import AppSettings
from minivess.label_app.training_cases import (
    ReviewedCases,
    apart_by_kind,
    labelled_cases,
    looked_at,
    only_reviewed,
    reviewed_cases,
    with_later_answers,
)
from minivess.models import read_metadata, weights_path
from minivess.paths import write_json
from minivess.review.service import ReviewService
from minivess.track import enqueue_training
from minivess.train import earlier_models, presets, read_stats, train_and_judge
from minivess.uncertainty.calibration import background_limit

_logger = logging.getLogger(__name__)
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
        super().__init__("Train on labels and answered places; published only when the model is better and has forgotten nothing")
        self.bundle = bundle
        self.settings = settings
        self.review = review
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

    def check(self, request: Mapping[str, Any]) -> None:
        """Check what a client has set, before a training is started.

        Args:
            request: Values for keys of :meth:`config`; other keys are ignored.

        Raises:
            UsageError: When a value is not allowed.
        """
        known = presets(self.bundle)

        def is_preset(value: Any) -> bool:  # stock clients send the list that they were told
            return (value[0] if isinstance(value, list) and value else value) in known

        allowed: dict[str, tuple[str, Callable[[Any], bool]]] = {
            "preset": (f"one of {', '.join(known)}", is_preset),
            "max_epochs": ("a whole number, 0 for that of the preset", lambda value: _is_number(value, int, 0, 10**6)),
            "val_split": ("a share from 0 to below 1", lambda value: _is_number(value, float, 0, 1)),
            "pretrained": ("true or false", lambda value: isinstance(value, bool)),
            "seed": ("a whole number", lambda value: _is_number(value, int, 0, 2**32)),
        }
        for key, (what, is_right) in allowed.items():
            if key in request and not is_right(request[key]):
                raise UsageError(f"{key}: {str(request[key])[:60]!r} is not allowed. Allowed: {what}.")

    def note_roll_back(self, actor: str) -> None:
        """Note that the model of the last training is not in use any more: its scores are of no published model.

        The progress of a training that is running is kept.

        Args:
            actor: Who went back.
        """
        if self.stats().get("state") == "running":
            return
        write_json(self.stats_file, {"state": "rolled back", "by": actor, "start_ts": int(time.time())})

    def stats(self) -> dict[str, Any]:
        """Return the progress of the last training, and how many earlier models are kept: few values, since clients poll it.

        Empty before the first of them, from which MONAI Label's clients see that nothing was trained.
        """
        stats, earlier = read_stats(self.stats_file), len(earlier_models(self.bundle))
        if earlier:
            stats["earlier_models"] = earlier
        if stats.get("state") == "running" and not psutil.pid_exists(stats["pid"]):
            stats["state"] = "stopped"
        return stats

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, and publish the new weights when they pass the gate.

        Args:
            request: Values for keys of :meth:`config`; other keys are ignored.
            datastore: Images and labels.
        """
        self.check(request)
        options = {**self.config(), **{key: value for key, value in request.items() if key in self.config()}}
        preset = options["preset"][0] if isinstance(options["preset"], list) else options["preset"]
        started: dict[str, Any] = {"start_ts": int(time.time()), "pid": os.getpid(), "state": "running"}
        write_json(self.stats_file, started)
        try:
            outcome = self._train(preset, options, datastore, started)
        except BaseException as error:
            reason = str(error) if isinstance(error, MinivessError) else type(error).__name__  # others name patients
            write_json(self.stats_file, {**started, "state": f"failed: {reason}"})
            raise
        write_json(self.stats_file, {**started, **outcome})
        return outcome

    def _train(self, preset: str, options: Mapping[str, Any], datastore: Datastore, started: dict[str, Any]) -> dict[str, Any]:
        current = weights_path(self.bundle)
        metadata = read_metadata(current) if current.is_file() else {}
        cases = self._collect(datastore, float(options["val_split"]), SubjectHistory.from_metadata(metadata))
        run = self.settings.model_dir / "runs" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        started |= {"run": run.name, "cases": len(cases.training), "left_out": cases.left_out}
        write_json(self.stats_file, started)
        # With use_pretrained_model=false only weights count that this server has published itself.
        counts = current.is_file() and (self.settings.use_pretrained_model or metadata.get("published_by") == _PUBLISHER)
        overrides: dict[str, Any] = {"seed": int(options["seed"]), "notes": {"published_by": _PUBLISHER}}
        if int(options["max_epochs"]) > 0:
            overrides["epochs"] = int(options["max_epochs"])
        result, promotion = train_and_judge(
            self.bundle,
            new=cases.training,
            parts=cases.parts,
            judged=cases.judged,
            earlier=cases.earlier,
            output=run,
            preset=preset,
            published=counts,
            pretrained=bool(options["pretrained"]),
            overrides=overrides,
            sealed=self.settings.sealed_test_set,
            background_below=background_limit(self.bundle) if counts else None,
        )
        enqueue_training(
            self.bundle,
            weights=result.weights,
            published=promotion.promoted,
            run=run,
            cases={"training": cases.training, "validation": cases.held_out},
            params={"preset": preset, "seed": options["seed"], "epochs": options["max_epochs"], "published_by": _PUBLISHER},
            seconds=result.seconds,
        )
        return {
            **promotion.to_json(),
            "held_out": bool(cases.judged),
            "held_out_subjects": sorted({case.subject for case in cases.held_out}),
            "seconds": round(result.seconds, 1),
        }

    def _collect(self, datastore: Datastore, share: float, history: SubjectHistory) -> _Cases:
        folder, unit = self.settings.model_dir / "reviewed", self.settings.unit
        labelled = labelled_cases(datastore, unit)
        places = ReviewedCases()
        if self.review is not None:
            labelled = only_reviewed(with_later_answers(labelled, self.review, folder), self.review, folder)
            places = reviewed_cases(datastore, self.review, folder, leave_out=set(labelled), unit=unit)
        if not labelled and not places.training:
            raise InputError(
                "There is no final label and no answered region to train on. Submit a label first (next sample, correct it, "
                "submit), or answer regions of the queue."
            )
        cases, left_out = usable_cases([*labelled.values(), *places.training])
        training, held_out = split_by_subject(cases, share, history)
        ids = {case.image: image_id for image_id, case in labelled.items()}
        judged = held_out
        if self.review is not None:
            final = [(ids[case.image], case) for case in held_out if case.image in ids]
            judged = [case for case in held_out if case.image not in ids] + looked_at(final, self.review, folder)
        images = {case.image for case in training}
        on_places = [case for case in places.held_out if case.image in images]
        return _Cases(
            training=training,
            parts=apart_by_kind(training, datastore, self.review, folder) if self.review is not None else training,
            held_out=held_out,
            judged=on_places or judged,
            earlier=judged if on_places else [],
            left_out=left_out | places.left_out,
        )


@dataclass(frozen=True)
class _Cases:
    """What a training learns from, and what its result is judged on.

    Attributes:
        training: Cases to learn, one of each image.
        parts: The same, ranked places and random checks apart: each is learned as often as the other.
        held_out: Cases of the subjects that are held out.
        judged: Held-out places of the training images; where there are none, the held-out cases, where a person has looked.
        earlier: The held-out cases, when places are judged: they may not get worse.
        left_out: Name -> why a case cannot be used.
    """

    training: list[TrainingCase]
    parts: list[TrainingCase]
    held_out: list[TrainingCase]
    judged: list[TrainingCase]
    earlier: list[TrainingCase]
    left_out: dict[str, str]


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
            _logger.warning("the training goes on without %s: %s", case.name, error)
    if not usable:
        raise InputError(f"No case can be used for training. The first: {next(iter(left_out.values()))}")
    return usable, left_out


def _is_number(value: Any, kind: type[int] | type[float], low: float, end: float) -> bool:
    """Return whether a value of a request is a number from ``low`` to below ``end``; clients may send it as text."""
    try:
        return not isinstance(value, bool) and low <= kind(value) < end and float(value) == kind(value)
    except (TypeError, ValueError, OverflowError):
        return False
