"""Make an ensemble of bundles: one folder that label app, MAP and command line take like any other bundle."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from minivess.ensemble.segmenter import COMBINATIONS, ENSEMBLE_KEY, settings_text
from minivess.errors import InputError
from minivess.models import Segmenter, base_path, check_bundle, load_bundle, weights_path
from minivess.models.bundle_check import members_of, read_config
from minivess.paths import atomic_file, atomic_folder, file_sha256


def write_ensemble(
    members: Sequence[Path], target: Path, *, weights: Sequence[float] | None = None, combination: str = "mean"
) -> Path:
    """Copy trained bundles into the folder of a new ensemble.

    Args:
        members: Folders of at least two trained bundles.
        target: Folder of the ensemble; must not exist.
        weights: Positive weight of each member; equal ones by default.
        combination: One of :data:`minivess.ensemble.segmenter.COMBINATIONS`.

    Returns:
        The folder of the ensemble, as it can be loaded.

    Raises:
        InputError: When there are fewer than two members, their weights do not fit, or the target exists.
        BundleError: When a member is refused.
        WeightsError: When a member has no weights.
    """
    if len(members) < 2 or (weights is not None and len(weights) != len(members)):
        raise InputError(f"An ensemble has at least two members, and one weight for each. Got {len(members)} and {weights}.")
    if combination not in COMBINATIONS or not all(math.isfinite(weight) and weight > 0 for weight in weights or ()):
        raise InputError(f"Allowed: {' or '.join(COMBINATIONS)}, and positive weights. Got {combination!r} and {weights}.")
    if target.exists():
        raise InputError(f"{target} exists. Name a folder that does not.")
    loaded = [load_bundle(member, device="cpu") for member in members]  # refuses what cannot be used
    if nested := [member for member in members if members_of(member)]:
        raise InputError(f"{nested[0]} is an ensemble itself. Name its members instead, below {nested[0] / 'members'}.")
    names = [f"{number + 1}_{segmenter.model.bundle}" for number, segmenter in enumerate(loaded)]
    with atomic_folder(target) as folder:
        for name, member in zip(names, members, strict=True):
            _copy(member, folder / "members" / name)
        _write_configuration(
            folder, members[0], dict(zip(names, weights or [1.0] * len(names), strict=True)), combination, loaded
        )
        hashes = {name: file_sha256(weights_path(folder / "members" / name)) for name in names}
        settings = read_config(folder / "configs" / "inference.yaml")
        content = {"members": hashes, "settings": settings_text(settings["segmenter"], settings)}
        about = {ENSEMBLE_KEY: json.dumps(content, sort_keys=True)}
        weights_path(folder).parent.mkdir()
        save_file({"members": torch.tensor(float(len(names)))}, weights_path(folder), metadata=about)
        check_bundle(folder)
    return target


def _copy(member: Path, folder: Path) -> None:
    """Copy configuration, documents, weights and base, without runs and earlier models."""
    shutil.copytree(member, folder, ignore=shutil.ignore_patterns("models", "runs", "run", "__pycache__"))
    weights_path(folder).parent.mkdir()
    shutil.copyfile(weights_path(member), weights_path(folder))
    if base_path(member).is_dir():
        shutil.copytree(base_path(member), base_path(folder))


def _write_configuration(
    folder: Path, first: Path, members: dict[str, float], combination: str, loaded: Sequence[Segmenter]
) -> None:
    own = read_config(first / "configs" / "inference.yaml")
    settings = {"threshold": own["threshold"], **({"min_piece_mass": own["min_piece_mass"]} if "min_piece_mass" in own else {})}
    references = {name: f"@{name}" for name in ("modality", *settings)}
    content = {
        "bundle_root": ".",
        "modality": own["modality"],
        **settings,
        "segmenter": {
            "_target_": "minivess.ensemble.EnsembleSegmenter",
            "root": "@bundle_root",
            "weights": "@weights",
            "device": "@device",
            "members": members,
            "combination": combination,
            **references,
        },
    }
    metadata = read_config(first / "configs" / "metadata.json")
    parts = ", ".join(f"{segmenter.model.bundle} {segmenter.model.version}" for segmenter in loaded)
    metadata |= {"name": "ensemble_vessel", "description": f"Ensemble ({combination}) of {parts}"}
    (folder / "configs").mkdir()
    with atomic_file(folder / "configs" / "inference.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with atomic_file(folder / "configs" / "metadata.json") as temporary:
        temporary.write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    shutil.copyfile(first / "LICENSE", folder / "LICENSE")
    (folder / "docs").mkdir()
    text = f"# Ensemble\n\n{metadata['description']}. Each member has its own licence and README.\n"
    (folder / "docs" / "README.md").write_text(text, encoding="utf-8")
