"""Run a bundle's training configuration on a list of cases."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from minivess.datasets.dataset import TrainingCase
from minivess.errors import BundleError, InputError
from minivess.evaluate import SealedTestSet, SubjectHistory, subjects_metadata
from minivess.models import MODALITIES, base_path, check_bundle, check_overrides, read_metadata, weights_path
from minivess.models.bundle_check import members_of, read_config
from minivess.models.config_values import ConfigPath, ConfigTexts
from minivess.paths import atomic_file, file_sha256
from minivess.store import current_actor, system_user

_logger = logging.getLogger(__name__)

#: Memory that a case takes for a byte of its files, at most: image and label as float32, of compressed files of 16 bits.
_MEMORY_OF_A_BYTE = 8
#: Called after each validation with the epoch and the mean Dice; True ends the training.
AfterValidation = Callable[[int, float], bool]

# It warns that bundles may contain a logging.conf; check_bundle refuses those.
logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        weights: The best checkpoint, a safetensors file in the output folder.
        validation_dice: Its mean Dice on the validation cases, in [0, 1].
        held_out: Whether those cases were excluded from the training.
        seconds: Wall time.
    """

    weights: Path
    validation_dice: float
    held_out: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "weights": str(self.weights)}


_logger = logging.getLogger(__name__)


def _origin(init_weights: Path | None) -> dict[str, str]:
    return {"trained_from": file_sha256(init_weights)} if init_weights and init_weights.is_file() else {}


def can_train(bundle: Path) -> bool:
    """Return whether a bundle states how it is trained; an ensemble does not, its members do."""
    return (bundle / "configs" / "train.yaml").is_file()


def presets(bundle: Path) -> list[str]:
    """List the presets of a bundle: ``full``, and every overlay beside ``train.yaml`` but torchrun's and other workflows."""
    overlays = {f.stem for f in (bundle / "configs").glob("*.yaml")} - {"train", "evaluate", "inference", "multi_gpu"}
    return ["full", *sorted(overlays)]


def read_training_config(bundle: Path, preset: str) -> dict[str, Any]:
    """Return the configuration of a preset as it is written: ``train.yaml``, and what lies over it.

    Args:
        bundle: The bundle's folder.
        preset: One of :func:`presets`.

    Raises:
        BundleError: When a file cannot be read.
    """
    content: dict[str, Any] = {}
    for name in _configuration_names(preset):
        content |= read_config(bundle / "configs" / f"{name}.yaml")
    return content


def _configuration_names(preset: str) -> list[str]:
    """Return the names of the configurations of a preset, without suffix; a later one is laid over the earlier ones."""
    return ["train"] if preset == "full" else ["train", preset]


def train_bundle(
    bundle: Path,
    *,
    training: Sequence[TrainingCase],
    validation: Sequence[TrainingCase],
    output: Path,
    preset: str = "full",
    init_weights: Path | None = None,
    overrides: dict[str, Any] | None = None,
    sealed: Path | None = None,
    after_validation: AfterValidation | None = None,
) -> TrainingResult:
    """Train a bundle. An interrupted run is resumed when this is called again with the same output folder.

    Args:
        bundle: The bundle's folder.
        training: Cases to train on; at least one.
        validation: Cases that select the best checkpoint. If empty, the training cases do, and ``held_out`` is False.
        output: Folder of this run: weights, log, TensorBoard files, state for resuming.
        preset: One of :func:`presets`.
        init_weights: Weights to start from.
        overrides: Further values for keys of the configuration, plain data only.
        sealed: Folder of a sealed test set; none of its cases and subjects may be among the cases.
        after_validation: Called after each validation; it may end the training.

    Raises:
        LockoutError: When a case belongs to the sealed test set.
        InputError: When there is no training case, or the preset is unknown.
        BundleError: When the bundle or an override is refused, or the training produced no weights.
    """
    check_bundle(bundle)
    if not can_train(bundle):
        raise BundleError(f"{bundle} has no configs/train.yaml: it cannot be trained. Train its members, and make it again.")
    if not training:
        raise InputError("A training needs at least one labelled case. Got none: annotate one and submit it first.")
    if preset not in presets(bundle):
        raise InputError(f"Unknown preset {preset!r}. Allowed: {', '.join(presets(bundle))}.")
    if sealed is not None:
        cases = [case.to_item() for case in dict.fromkeys((*training, *validation))]
        SealedTestSet(sealed).refuse(cases, purpose="training", actor=current_actor.get() or system_user())
    learned = {case.subject for case in training}  # of whom places may be held out
    held_out = [case for case in validation if case.subject not in learned]
    before = SubjectHistory.from_metadata(read_metadata(init_weights)) if init_weights and init_weights.is_file() else None
    subjects = subjects_metadata(training, held_out, before)
    values: dict[str, Any] = {
        **_cache_rate(bundle, [*training, *validation]),
        **(overrides or {}),
        "notes": ConfigTexts({**(overrides or {}).get("notes", {}), **subjects, **_origin(init_weights)}),
        "bundle_root": ConfigPath(bundle),
        "output_dir": ConfigPath(output),
        "init_weights": ConfigPath(init_weights) if init_weights else "",
        "train#dataset#data": tuple(case.to_item() for case in training),
        "validate#dataset#data": tuple(case.to_item() for case in (validation or training)),
    }
    check_overrides(values)
    start = time.monotonic()
    _run_workflow(_configuration_names(preset), bundle, values, after_validation)
    best = output / weights_path(output).name
    if not best.is_file():
        raise BundleError(f"The training in {output} produced no weights: its validation Dice was never a number. See log.csv.")
    return TrainingResult(best, float(read_metadata(best)["val_dice"]), bool(validation), time.monotonic() - start)


def _cache_rate(bundle: Path, cases: Sequence[TrainingCase]) -> dict[str, float]:
    """Return which share of the cases is kept in memory, where all of them would take more than half of the memory."""
    kept = {(case.image, case.label, case.reviewed) for case in cases}  # an image that is learned in two parts is kept twice
    needed = _MEMORY_OF_A_BYTE * sum(file.stat().st_size for row in kept for file in row[:2] if file.is_file())
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    if needed <= most or "cache_rate" not in read_config(bundle / "configs" / "train.yaml"):
        return {}
    share = round(most / needed, 3)
    _logger.warning("Of %d cases %.0f %% are kept in memory; the others are read again for each patch.", len(cases), 100 * share)
    return {"cache_rate": share}


def _run_workflow(
    names: list[str], bundle: Path, values: dict[str, Any], after_validation: AfterValidation | None = None
) -> None:
    """Run configurations of a bundle, the later ones on top of the earlier ones, with some values replaced."""
    configs = [str(bundle / "configs" / f"{name}.yaml") for name in names]
    workflow = ConfigWorkflow(configs, workflow_type="train", logging_file=False, **values)
    workflow.initialize()
    if after_validation is not None:
        trainer, evaluator = (workflow.parser.get_parsed_content(name) for name in ("train#trainer", "validate#evaluator"))

        def end_if_told() -> None:
            if after_validation(trainer.state.epoch, float(evaluator.state.metrics["val_dice"])):
                trainer.terminate()

        evaluator.add_event_handler(Events.COMPLETED, end_if_told)
    workflow.run()
    workflow.finalize()


def copy_bundle(source: Path, target: Path) -> Path:
    """Copy a bundle's configuration, documents and licence, without weights and runs; a frozen base is linked.

    Args:
        source: Folder of the bundle.
        target: Folder of the copy; may be the same.

    Returns:
        The target.
    """
    if source.resolve() == target.resolve():
        return target
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "runs", "__pycache__"))
    for member in members_of(source):
        shutil.copytree(member / "models", target / "members" / member.name / "models", dirs_exist_ok=True)
    base, link = base_path(source), base_path(target)
    if base.is_dir() and not link.exists():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(base.resolve(), target_is_directory=True)  # gigabytes, and never changed
    return target


def set_modality(bundle: Path, modality: str) -> None:
    """Write the modality into a bundle's configurations, for training and prediction alike; comments stay.

    Args:
        bundle: The bundle's folder; ``train.yaml`` and ``inference.yaml`` are changed, or neither.
        modality: Key of :data:`minivess.models.MODALITIES`.

    Raises:
        InputError: When the modality is unknown, or a configuration has no key ``modality`` that can be replaced.
        BundleError: When a configuration cannot be read.
    """
    if modality not in MODALITIES:
        raise InputError(f"Unknown modality {modality!r}. Allowed: {', '.join(MODALITIES)}.")
    files = [bundle / "configs" / name for name in ("train.yaml", "inference.yaml")]
    texts = [_with_modality(file, modality) for file in files]
    for file, text in zip(files, texts, strict=True):
        with atomic_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _with_modality(file: Path, modality: str) -> str:
    """Return the text of a configuration with another value of the top-level key ``modality``."""
    content = read_config(file)
    if not isinstance(content, dict) or "modality" not in content:
        raise InputError(
            f"{file} has no top-level key modality, so it cannot be set to {modality}. Add the line `modality: {modality}`, and "
            'refer to it in NormaliseIntensityd: `modality: "@modality"`.'
        )
    text = file.read_text(encoding="utf-8")
    nodes = [value for key, value in yaml.compose(text, yaml.SafeLoader).value if key.value == "modality"]
    changed = text
    if nodes:
        start, end = nodes[-1].start_mark.index, nodes[-1].end_mark.index
        changed = f"{text[:start]}{' ' if text[start - 1] == ':' else ''}{modality}{text[end:]}"
    try:
        replaced = yaml.safe_load(changed) == {**content, "modality": modality}
    except yaml.YAMLError:
        replaced = False
    if not replaced:
        raise InputError(f"{file}: the value of modality cannot be replaced. Write it on one line: `modality: {modality}`.")
    return changed


def read_stats(path: Path) -> dict[str, Any]:
    """Read the progress of a training: its statistics file, and the last row of its log.

    Args:
        path: JSON file that names the ``run``, a folder under ``runs/`` beside it.

    Returns:
        JSON values; empty when the file does not exist.
    """
    if not path.is_file():
        return {}
    try:
        stats: dict[str, Any] = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:  # it tells of the last training, and nothing depends on it
        _logger.warning("%s is damaged: %s", path.name, error)
        return {}
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
