"""The models under some folders, each by the hash of its weights, with what they were trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.errors import InputError, WeightsError
from minivess.models.weights import FILE_NAME, read_metadata
from minivess.paths import file_sha256


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model.

    Attributes:
        sha256: Hash of its weights file; predictions, queues and DICOM results name it.
        file: The weights.
        trained_from: Hash of the weights that its training began with; empty when unknown or from random values.
        published_by: ``label app`` or empty.
        subjects: Subjects that it learned; None where that is not recorded, as for imported weights and ensembles.
        learned: SHA-256 of each file that it learned (images, labels, masks of what was reviewed) -> path at that time.
    """

    sha256: str
    file: Path
    trained_from: str
    published_by: str
    subjects: tuple[str, ...] | None
    learned: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "weights_sha256": self.sha256,
            "file": str(self.file),
            "trained_from": self.trained_from or None,
            "published_by": self.published_by or None,
            "training_subjects": None if self.subjects is None else list(self.subjects),
            "training_files": self.learned,
        }


def find_models(folders: Iterable[Path]) -> dict[str, ModelRecord]:
    """Return hash -> model, for all weights of bundles under some folders, the earlier models that they keep included.

    Args:
        folders: Bundles, or folders with bundles.

    Raises:
        InputError: When one of them does not exist.
    """
    searched = list(folders)
    if missing := [str(folder) for folder in searched if not folder.is_dir()]:
        raise InputError(f"There is no folder {', '.join(missing)} to look for models in.")
    files = sorted({f.resolve() for folder in searched for f in folder.rglob(FILE_NAME) if "models" in f.parts[-4:-1]})
    records = [record for file in files if (record := _read(file)) is not None]
    # Of the same weights at two places, the last one counts: that which says what they learned.
    records.sort(key=lambda record: bool(record.learned))
    return {record.sha256: record for record in records}


def _read(file: Path) -> ModelRecord | None:
    try:
        metadata = read_metadata(file)
    except WeightsError:  # a file of another program
        return None
    sha256 = file_sha256(file)
    return ModelRecord(
        sha256=sha256,
        file=file,
        trained_from=metadata.get("trained_from", ""),
        published_by=metadata.get("published_by", ""),
        subjects=tuple(json.loads(metadata["training_subjects"])) if "training_subjects" in metadata else None,
        learned=_training_files(file.with_name("training_data.json"), sha256),
    )


def _training_files(manifest: Path, weights_sha256: str) -> dict[str, str]:
    """Return hash -> path of what the list beside the weights names; nothing where it is of other weights."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if content.get("weights_sha256") != weights_sha256:
        return {}
    return {sha256: row["case"][name] for row in content["cases"] for name, sha256 in row["sha256"].items()}
