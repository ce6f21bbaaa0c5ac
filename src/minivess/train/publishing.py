"""Publish weights into a bundle, and take the last publication back."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from minivess.errors import ConflictError, WeightsError
from minivess.models import weights_path
from minivess.models.weights import FILE_NAME, read_weights
from minivess.paths import atomic_file, atomic_folder, file_sha256, remove_abandoned

#: So many earlier models are kept.
KEPT = 5
_PREVIOUS = "previous"
#: Models that somebody went back from: no way leads to them, but nothing is lost.
_WITHDRAWN = "withdrawn"
_ABANDONED_S = 86_400
#: What lies beside weights and names their hash: it is worthless for other weights.
_COMPANIONS = ("zones.json", "quality.json", "training_data.json")


def published_digest(bundle: Path) -> str:
    """Return the SHA-256 of a bundle's published weights; "" when there are none."""
    weights = weights_path(bundle)
    return file_sha256(weights) if weights.is_file() else ""


def publish(weights: Path, bundle: Path, *, instead_of: str | None = None) -> Path:
    """Copy weights into a bundle, atomically: a reader sees the old or the new file. The replaced model is kept.

    Zones and the list of training data beside the weights are copied with them.

    Args:
        weights: A safetensors file.
        bundle: The bundle's folder.
        instead_of: Digest of the published weights that these were compared with; by default it does not matter.

    Returns:
        Path of the weights in the bundle.

    Raises:
        WeightsError: When there are no such weights; the bundle is unchanged.
        ConflictError: When others are published than these were compared with.
    """
    target, published = weights_path(bundle), published_digest(bundle)
    if not weights.is_file():
        raise WeightsError(f"There are no weights at {weights} to publish. Train the bundle first.")
    if instead_of not in (None, published):
        raise ConflictError(
            "The published weights were replaced meanwhile, so that the new ones were compared with others. Nothing was "
            f"published. The new weights are {weights}; compare or train again, from the weights that are published now."
        )
    if file_sha256(weights) != published:
        keep_previous(bundle)
        remove_abandoned(target.parent, target.name)
        with atomic_file(target) as temporary:
            shutil.copyfile(weights, temporary)
    for companion in (weights.with_name(name) for name in _COMPANIONS):
        if companion.is_file():
            with atomic_file(target.with_name(companion.name)) as temporary:
                shutil.copyfile(companion, temporary)
    return target


def earlier_models(bundle: Path) -> list[Path]:
    """Return the folders of the earlier models that are kept beside the published one, the oldest first."""
    return _kept(weights_path(bundle).parent)


def model_before(bundle: Path) -> Path:
    """Return the folder of the model before the present one, which :func:`roll_back` publishes again.

    Raises:
        WeightsError: When the bundle has no weights, or is no bundle, or the earlier model's file is damaged.
        ConflictError: When no earlier model is kept.
    """
    target = weights_path(bundle)
    if not target.is_file():
        raise WeightsError(f"There is no published model at {target}, so there is none before it.")
    kept = earlier_models(bundle)
    if not kept:
        raise ConflictError(f"{bundle.name} has no earlier model to go back to: its present one is the first that was published.")
    read_weights(kept[-1] / target.name)  # refuses a damaged file before the present one is replaced
    return kept[-1]


def roll_back(bundle: Path) -> Path:
    """Publish the model before the present one again, with its zones and its training data; repeat it to go further back.

    Args:
        bundle: The bundle's folder.

    Returns:
        Path of the weights in the bundle.

    Raises:
        WeightsError: When the bundle has no weights, or is no bundle, or the earlier model's file is damaged.
        ConflictError: When no earlier model is kept.
    """
    target, last = weights_path(bundle), model_before(bundle)
    keep_previous(bundle, _WITHDRAWN)
    for file in sorted(last.iterdir(), key=lambda f: f.name == target.name):  # the weights last: they make the others valid
        with atomic_file(target.parent / file.name) as temporary:
            shutil.copyfile(file, temporary)
    shutil.rmtree(last)
    return target


def keep_previous(bundle: Path, folder: str = _PREVIOUS) -> str:
    """Copy the published model, and what belongs to it, to a folder of its own; the oldest ones are removed.

    Args:
        bundle: The bundle's folder.
        folder: Name of the folder beside the weights.

    Returns:
        SHA-256 of its weights; empty when there are none.
    """
    current = weights_path(bundle)
    if not current.is_file():
        return ""
    models = current.parent
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    with atomic_folder(models / folder / name) as temporary:
        for file in (current, *(models / companion for companion in _COMPANIONS)):  # other weights beside them are not ours
            if file.is_file():
                shutil.copyfile(file, temporary / file.name)
    for old in (*_kept(models, folder)[:-KEPT], *_abandoned(models / folder)):
        shutil.rmtree(old, ignore_errors=True)
    return file_sha256(current)


def _kept(models: Path, folder: str = _PREVIOUS) -> list[Path]:
    """Return the folders of earlier models, the oldest first; those that a process is writing, or was killed in, are hidden."""
    return sorted(file.parent for file in (models / folder).glob(f"*/{FILE_NAME}") if not file.parent.name.startswith("."))


def _abandoned(folder: Path) -> list[Path]:
    return [place for place in folder.glob(".*") if time.time() - place.stat().st_mtime > _ABANDONED_S]
