"""What ``minivess train`` settles before it trains: wrong options, the splits, the folder, the bundle's copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minivess.datasets import TrainingCase
    from minivess.ensemble.train_members import Fold

    Sections = dict[str, list[TrainingCase]]


#: In ``runs/``: SHA-256 of the weights that a training has published.
PUBLISHED = "published.sha256"


def check_continued(*, alone: bool, one: bool) -> None:
    """Refuse what does not go with --from."""
    from minivess.errors import UsageError

    if not alone:
        raise UsageError("--from names bundle, weights and modality. Remove --init, --bundle and --modality.")
    if not one:
        raise UsageError("--from trains one model further, with the settings that it states. Remove --folds, --seeds and --tune.")


def check_options(source: Path, preset: str, modality: str | None) -> None:
    """Refuse wrong options before anything is written."""
    from minivess.errors import UsageError
    from minivess.models import MODALITIES, check_bundle
    from minivess.train import presets

    check_bundle(source)
    if preset not in presets(source):
        raise UsageError(f"Unknown preset {preset!r}. Allowed: {', '.join(presets(source))}.")
    if modality is not None and modality not in MODALITIES:
        raise UsageError(f"Unknown modality {modality!r}. Allowed: {', '.join(MODALITIES)}.")


def check_start(init: Path | None, model: Path | None, splits: Sequence[Fold], test: Sequence[TrainingCase]) -> None:
    """Refuse weights to start from that have learned what is held out, or what is to test the new ones."""
    from minivess.evaluate import SubjectHistory, history_of, refuse_learned
    from minivess.models import read_metadata

    held_out = [*(case for _, judged in splits for case in judged), *test]
    if init is not None:
        history = SubjectHistory.from_metadata(read_metadata(init))
        refuse_learned(held_out, history, model="The model of --init", advice="Leave out --init, or hold out others.")
    if model is not None:
        refuse_learned(held_out, history_of(model), model="The model of --from", advice="Hold out others.")


def make_splits(sections: Sections, folds: int | None) -> list[Fold]:
    """Return training and held-out cases: of the data set, or of each fold of both."""
    from minivess.ensemble.train_members import folds_by_subject
    from minivess.errors import InputError

    if not sections["training"]:
        raise InputError("The data set has no case in training: it is for tests alone. Make it again with fewer --test.")
    if folds is None:
        return [(sections["training"], sections["validation"])]
    return folds_by_subject([*sections["training"], *sections["validation"]], folds)


def what_is_trained(splits: Sequence[Fold], source: Path, modality: str | None) -> dict[str, Any]:
    """Return cases and bundle for the plan of a folder: a training goes on only with the same ones."""
    from hashlib import sha256

    from minivess.paths import file_sha256

    files = [f"{file.name} {file_sha256(file)}" for file in sorted((source / "configs").iterdir()) if file.is_file()]
    return {
        "cases": [[[case.to_item() for case in part] for part in split] for split in splits],
        "bundle": sha256("\n".join([*files, modality or ""]).encode()).hexdigest(),
    }


@contextmanager
def hold_runs(runs: Path, plan: dict[str, Any], *, resume: bool) -> Iterator[None]:
    """Hold the folder of the trainings, as the only process, and check that it is of this plan."""
    from minivess.errors import ConflictError, InputError
    from minivess.process_lock import ProcessLock
    from minivess.train.plan import FILE_NAME, check_plan

    began = any(runs.rglob("log.csv")) or (runs / "tune" / "journal.log").exists()
    if began and not resume:
        raise InputError(f"{runs} already contains a training. Continue it: --resume. Or choose a new folder: --out.")
    if not began and (runs.parent / "configs").is_dir() and not (runs / FILE_NAME).exists():
        raise InputError(f"{runs.parent} is a bundle, whose configuration would be replaced. Choose a new folder: --out.")
    if resume and not runs.exists():
        raise InputError(f"{runs} contains no training to resume. Remove --resume.")
    runs.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(runs / "lock")
    if not lock.take(exclusive=True):
        raise ConflictError(f"Another process trains in {runs}. Wait for it, or choose a new folder: --out.")
    if not began:
        (runs / FILE_NAME).unlink(missing_ok=True)  # of a command that was refused
    try:
        check_plan(runs, plan)
        yield
    finally:
        lock.release()


def record_published(out: Path) -> None:
    """Write which weights a training has published, for the next ``--resume``."""
    from minivess.paths import atomic_file
    from minivess.train.publishing import published_digest

    with atomic_file(out / "runs" / PUBLISHED) as temporary:
        temporary.write_text(published_digest(out))


def prepare_bundle(out: Path, source: Path, model: Path | None, modality: str, *, resume: bool) -> Path:
    """Copy the bundle that is trained; of a trained one also its weights, which the new ones must beat. Return the copy."""
    from minivess.errors import InputError
    from minivess.models import weights_path
    from minivess.paths import file_sha256
    from minivess.train import copy_bundle, publish, set_modality

    trained, published = out / "runs" / "train" / "model.safetensors", weights_path(out)
    known = {file_sha256(trained)} if trained.is_file() else set()
    record = out / "runs" / PUBLISHED  # a run that goes on has better weights than those that it published
    known |= {record.read_text()} if record.is_file() else set()
    of_this_run = not published.is_file() or file_sha256(published) in known
    if model is None and resume and not of_this_run:
        raise InputError(
            f"{out} has another model than this training's: one was published there since. Resuming would replace it without a "
            f"comparison. Train it further: --from {out} --out FOLDER."
        )
    copy_bundle(source, out)
    if model is None:
        set_modality(out, modality)
    elif not resume:
        publish(weights_path(model), out)
    elif weights_path(model).is_file() and file_sha256(weights_path(model)) != file_sha256(weights_path(out)):
        raise InputError(f"The training in {out} is done and published. Train its model further: --from {out} --out FOLDER.")
    return out
