"""Run a bundle's training configuration on a list of cases, and publish what is better."""

from __future__ import annotations

import csv
import json
import logging
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from minivess.errors import BundleError, InputError
from minivess.evaluate import SealedTestSet
from minivess.models import MODALITIES, check_bundle, check_overrides, read_notes, weights_path
from minivess.paths import atomic_file
from minivess.store import current_actor, system_user
from minivess.train.dataset import Case

# It warns that bundles may bring a logging.conf; ours may not.
logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave.

    Attributes:
        weights: The best checkpoint, a safetensors file in the output folder.
        validation_dice: Its mean Dice on the validation cases.
        held_out: Whether those cases were kept out of the training.
        seconds: Wall time.
    """

    weights: Path
    validation_dice: float
    held_out: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {**asdict(self), "weights": str(self.weights)}


def presets(bundle: Path) -> list[str]:
    """List the presets of a bundle: ``full`` and every overlay beside ``train.yaml`` that is no other workflow."""
    overlays = {f.stem for f in (bundle / "configs").glob("*.yaml")} - {"train", "evaluate", "inference"}
    return ["full", *sorted(overlays)]


def train_bundle(
    bundle: Path,
    *,
    training: Sequence[Case],
    validation: Sequence[Case],
    output: Path,
    preset: str = "full",
    init_weights: Path | None = None,
    overrides: dict[str, Any] | None = None,
    sealed: Path | None = None,
) -> TrainingResult:
    """Train a bundle; a run that was cut off goes on when it is called again with the same output folder.

    Args:
        bundle: The bundle's folder.
        training: Cases to learn from; at least one.
        validation: Cases that choose the best checkpoint. With none, the training cases do, and the result says so.
        output: Folder of this run: weights, log, TensorBoard files, state for going on.
        preset: One of :func:`presets`.
        init_weights: Weights to start from.
        overrides: Further values for keys of the configuration, plain data only.
        sealed: Folder of a sealed test set, none of whose cases and subjects may be among the cases.

    Raises:
        LockoutError: When one is.
        InputError: When there is no case or the preset is unknown.
        BundleError: When the bundle or an override is refused, or the training gave no weights.
    """
    check_bundle(bundle)
    if not training:
        raise InputError("A training needs at least one labelled case. Got none: annotate one and submit it first.")
    if preset not in presets(bundle):
        raise InputError(f"Unknown preset {preset!r}. Allowed: {', '.join(presets(bundle))}.")
    if sealed is not None:
        cases = [case.to_item() for case in (*training, *validation)]
        SealedTestSet(sealed).refuse(cases, purpose="training", actor=current_actor.get() or system_user())
    values: dict[str, Any] = {
        **(overrides or {}),
        "notes": {**(overrides or {}).get("notes", {}), **_subjects(training, validation)},
        "bundle_root": str(bundle),
        "output_dir": str(output),
        "init_weights": str(init_weights or ""),
        "train#dataset#data": [case.to_item() for case in training],
        "validate#dataset#data": [case.to_item() for case in (validation or training)],
    }
    check_overrides(values)
    configs = [str(bundle / "configs" / "train.yaml")]
    if preset != "full":
        configs.append(str(bundle / "configs" / f"{preset}.yaml"))
    start = time.monotonic()
    workflow = ConfigWorkflow(configs, workflow_type="train", logging_file=False, **values)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    best = output / weights_path(output).name
    if not best.is_file():
        raise BundleError(f"The training in {output} gave no weights: its validation Dice was never a number. See log.csv there.")
    return TrainingResult(best, float(read_notes(best)["val_dice"]), bool(validation), time.monotonic() - start)


def _subjects(training: Sequence[Case], validation: Sequence[Case]) -> dict[str, str]:
    """Note in the weights' file who was learned from and who was held out, so that nobody is scored on what was seen."""
    sections = {"training_subjects": training, "held_out_subjects": validation}
    return {key: json.dumps(sorted({case.subject for case in cases})) for key, cases in sections.items()}


def publish(weights: Path, bundle: Path) -> Path:
    """Put weights in a bundle, atomically: a reader sees the old or the new file."""
    target = weights_path(bundle)
    with atomic_file(target) as temporary:
        shutil.copyfile(weights, temporary)
    return target


def copy_bundle(source: Path, target: Path) -> Path:
    """Copy a bundle's configuration, documents and licence, without weights and runs."""
    if source.resolve() == target.resolve():
        return target
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "runs", "__pycache__"))
    return target


def set_modality(bundle: Path, modality: str) -> None:
    """Write into a bundle's configurations how intensities are scaled, for training and prediction alike.

    Raises:
        InputError: When the modality is unknown.
    """
    if modality not in MODALITIES:
        raise InputError(f"Unknown modality {modality!r}. Allowed: {', '.join(MODALITIES)}.")
    for name in ("train.yaml", "inference.yaml"):
        file = bundle / "configs" / name
        text = re.sub(r"^modality: \w+", f"modality: {modality}", file.read_text(), flags=re.MULTILINE)
        with atomic_file(file) as temporary:
            temporary.write_text(text)


def read_stats(path: Path) -> dict[str, Any]:
    """Read how far a training is: what was noted at its start and end, and the last row of its log.

    Args:
        path: JSON file that names the ``run``, a folder under ``runs/`` beside it; empty where there is none.
    """
    if not path.is_file():
        return {}
    stats: dict[str, Any] = json.loads(path.read_text())
    log = path.parent / "runs" / str(stats.get("run", "")) / "log.csv"
    if log.is_file():
        with log.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if rows:
            scores = [float(row["validation_dice"]) for row in rows if row["validation_dice"]]
            stats |= {"epoch": int(rows[-1]["epoch"]), "loss": float(rows[-1]["loss"])}
            stats |= {"epochs": int(rows[-1]["epochs"])} if rows[-1].get("epochs") else {}
            stats |= {"best_metric": max(scores)} if scores else {}
    return stats
