"""Read and write data sets: a folder with ``dataset.json``, in the format of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.errors import InputError, LockoutError
from minivess.volume import Unit
from minivess.volume.checks import check_spacing
from minivess.volume.io import stem_of
from minivess.volume.units import parse_unit

FILE_NAME = "dataset.json"
SECTIONS = ("training", "validation", "test")
#: Beside ``dataset.json``: the folder of its sealed test set, or the file that says where it is.
SEAL_FOLDER, SEAL_POINTER = "sealed_test", "sealed_test.json"
#: Value of unreviewed voxels of a label in training; they count in no loss and no score.
UNREVIEWED = -1.0


@dataclass(frozen=True)
class TrainingCase:
    """One image with its label.

    Attributes:
        image: File or folder.
        label: File or folder on the same grid.
        subject: The animal or patient; all cases of one subject are in the same section.
        spacing: Voxel size (x, y, z) in ``unit``, for files that do not state it.
        unit: Unit of the spacing, ``"mm"`` or ``"um"``; it overrides what the file states.
        reviewed: Mask, on the same grid, of the voxels whose label was reviewed; None when all were.
        channel: Channel of the image, from 1; None where it has one.
        time: Time point of the image, from 1; None where it has one.
        depth_axis: Axis of the image's file that is the depth: ``Z``, ``T`` or ``C``.
        label_threshold: The label is vessel above this value; None for a mask of two values.
        rehearsed: Whether the model has learned it before: it is to keep what it says of it. Not part of a data set.
    """

    image: Path
    label: Path
    subject: str
    spacing: tuple[float, float, float] | None = None
    unit: Unit | None = None
    reviewed: Path | None = None
    channel: int | None = None
    time: int | None = None
    depth_axis: str = "Z"
    label_threshold: float | None = None
    rehearsed: bool = False

    @property
    def name(self) -> str:
        """Name of the image without its suffix."""
        return stem_of(self.image)

    def to_item(self) -> dict[str, Any]:
        """Return the row that MONAI's transforms read."""
        item: dict[str, Any] = {"image": str(self.image), "label": str(self.label), "subject": self.subject}
        if self.spacing is not None:
            item["spacing"] = list(self.spacing)
        if self.unit is not None:
            item["unit"] = self.unit
        if self.reviewed is not None:
            item["reviewed"] = str(self.reviewed)
        options = {"channel": self.channel, "time": self.time, "label_threshold": self.label_threshold}
        item |= {key: value for key, value in options.items() if value is not None}
        if self.depth_axis != "Z":
            item["depth_axis"] = self.depth_axis
        if self.rehearsed:
            item["rehearsed"] = True
        return item


def read_dataset(path: Path) -> dict[str, list[TrainingCase]]:
    """Read ``dataset.json``, or the folder that contains it.

    Returns:
        Section (training, validation, test) -> cases, with absolute paths.

    Raises:
        InputError: When the file is missing, a row is incomplete, or a subject is in two sections.
    """
    path = Path(path)
    folder = path.parent if path.suffix == ".json" else path
    path = Path(os.path.abspath(path / FILE_NAME if path.is_dir() else path))  # links stay
    if not path.is_file():
        raise InputError(
            f"There is no data set at {folder}. Check the path, or create one: minivess data make {shlex.quote(str(folder))}"
        )
    try:
        content = json.loads(path.read_text())
        sections = {s: [case_from_item(row, path.parent) for row in _rows(content.get(s, []), s)] for s in SECTIONS}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: rows are {{'image': ..., 'label': ..., 'subject': ...}}. Got {error!r}.") from error
    _refuse_leaks(sections, path)
    _refuse_twins(sections, path)
    return sections


def items(dataset_dir: str, section: str) -> list[dict[str, Any]]:
    """List a section of a data set as the rows that MONAI's transforms read.

    Args:
        dataset_dir: Folder of ``dataset.json``.
        section: ``"training"``, ``"validation"`` or ``"test"``.

    Raises:
        InputError: When the section is empty, or the data set cannot be read.
        LockoutError: When the data set has a sealed test set, against which stock MONAI compares nothing.
    """
    folder = Path(dataset_dir) if Path(dataset_dir).is_dir() else Path(dataset_dir).parent
    if any((folder / name).exists() for name in (SEAL_FOLDER, SEAL_POINTER)):
        raise LockoutError(
            f"{folder} has a sealed test set. Stock MONAI would not refuse its cases, nor count a look at them. Use "
            "`minivess train` and `minivess evaluate`."
        )
    cases = read_dataset(Path(dataset_dir))[section]
    if not cases:
        raise InputError(f"{dataset_dir}: no case for {section}. Split the data set again: minivess data make --help.")
    return [case.to_item() for case in cases]


def _rows(rows: list[Any], section: str) -> list[dict[str, Any]]:
    """Leave out the test images of the Medical Segmentation Decathlon, which have no labels: a path, or a row without a label."""
    return [row for row in rows if isinstance(row, dict) and row.get("label")] if section == "test" else rows


def case_from_item(row: Mapping[str, Any], base: Path) -> TrainingCase:
    """Read the row that :meth:`TrainingCase.to_item` writes.

    Args:
        row: A row of ``dataset.json``.
        base: Folder that relative paths start from.

    Raises:
        KeyError: When the row names no image or no label.
        InputError: When spacing or unit are none.
    """
    spacing, unit, threshold, subject = (row.get(key) for key in ("spacing", "unit", "label_threshold", "subject"))
    image = base / row["image"]
    return TrainingCase(
        image=image,
        label=base / row["label"],
        subject=stem_of(image) if subject in (None, "") else str(subject),
        spacing=None if spacing is None else check_spacing(tuple(spacing), source=image.name),
        unit=None if unit is None else parse_unit(unit),
        reviewed=base / row["reviewed"] if row.get("reviewed") else None,
        channel=row.get("channel"),
        time=row.get("time"),
        depth_axis=str(row.get("depth_axis", "Z")),
        label_threshold=None if threshold is None else float(threshold),
    )


def _refuse_leaks(sections: dict[str, list[TrainingCase]], path: Path) -> None:
    section_of: dict[str, str] = {}
    for section, cases in sections.items():
        for case in cases:
            if section_of.setdefault(case.subject, section) != section:
                raise InputError(
                    f"{path}: subject {case.subject} is in {section_of[case.subject]} and in {section}. Split by subject, "
                    "otherwise the score is not that of new subjects."
                )


def _refuse_twins(sections: dict[str, list[TrainingCase]], path: Path) -> None:
    """Refuse two rows that mean one image: the same file twice, or files that differ in the suffix only."""
    seen: dict[Path, TrainingCase] = {}
    for case in (case for cases in sections.values() for case in cases):
        other = seen.setdefault(case.image.parent / case.name, case)
        if other is not case:
            raise InputError(f"{path}: {other.image.name} and {case.image.name} mean one image. Remove one of them.")
