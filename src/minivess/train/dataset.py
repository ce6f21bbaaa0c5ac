"""Read and write data sets: a folder with ``dataset.json``, in the format of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.metrics.masks import as_mask
from minivess.models.transforms import load_item
from minivess.paths import write_json
from minivess.volume import Unit, Volume, reorient
from minivess.volume.io import stem_of, suffix_of
from minivess.volume.slices import SLICE_SUFFIXES

FILE_NAME = "dataset.json"
SECTIONS = ("training", "validation", "test")
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
    """

    image: Path
    label: Path
    subject: str
    spacing: tuple[float, float, float] | None = None
    unit: Unit | None = None
    reviewed: Path | None = None

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
        return item


def make_dataset(
    folder: Path,
    *,
    subjects: dict[str, str] | None = None,
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    spacing: tuple[float, float, float] | None = None,
    unit: Unit | None = None,
) -> Path:
    """Pair ``images/`` with ``labels/`` by name, split them by subject, and write ``dataset.json``.

    Args:
        folder: Contains ``images/`` and ``labels/``, with equal names up to the suffix.
        subjects: Image name -> subject; an image that is not named is its own subject.
        validation: Subjects that select the best checkpoint.
        test: Subjects that are only reported on.
        spacing: Voxel size (x, y, z) for files that do not state it.
        unit: Unit of the spacing.

    Returns:
        Path of the written file.

    Raises:
        InputError: When an image has no label or a label no image, or a subject is unknown or in both splits.
    """
    images, labels = (_by_stem(folder / name) for name in ("images", "labels"))
    unpaired = sorted(set(images) ^ set(labels))
    if unpaired or not images:
        raise InputError(
            f"{folder}: images/ and labels/ must contain the same names. Without a partner: {', '.join(unpaired[:5]) or 'all'}."
        )
    cases = [TrainingCase(images[stem], labels[stem], (subjects or {}).get(stem, stem), spacing, unit) for stem in sorted(images)]
    known = {case.subject for case in cases}
    unknown = sorted((set(validation) | set(test)) - known)
    if unknown or set(validation) & set(test):
        raise InputError(
            f"Subjects to split by: {', '.join(sorted(known))}. Unknown or named twice: {', '.join(unknown) or 'some'}."
        )
    content: dict[str, Any] = {"name": folder.name, "labels": {"0": "background", "1": "vessel"}, "tensorImageSize": "3D"}
    for section in SECTIONS:
        content[section] = []
    for case in cases:
        section = "test" if case.subject in test else "validation" if case.subject in validation else "training"
        item = case.to_item()
        for key in ("image", "label"):
            item[key] = str(Path(item[key]).relative_to(folder))
        content[section].append(item)
    write_json(folder / FILE_NAME, content)
    return folder / FILE_NAME


def read_dataset(path: Path) -> dict[str, list[TrainingCase]]:
    """Read ``dataset.json``, or the folder that contains it.

    Returns:
        Section (training, validation, test) -> cases, with absolute paths.

    Raises:
        InputError: When the file is missing, a row is incomplete, or a subject is in two sections.
    """
    path = Path(path)
    folder = path.parent if path.suffix == ".json" else path
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"There is no data set at {path}. Check the path, or create one: minivess data make {folder}")
    try:
        content = json.loads(path.read_text())
        sections = {s: [_as_case(row, path.parent) for row in content.get(s, [])] for s in SECTIONS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: rows are {{'image': ..., 'label': ..., 'subject': ...}}. Got {error!r}.") from error
    _refuse_leaks(sections, path)
    return sections


def items(dataset_dir: str, section: str) -> list[dict[str, Any]]:
    """List a section of a data set as the rows that MONAI's transforms read.

    Args:
        dataset_dir: Folder of ``dataset.json``.
        section: ``"training"``, ``"validation"`` or ``"test"``.

    Raises:
        InputError: When the section is empty, or the data set cannot be read.
    """
    cases = read_dataset(Path(dataset_dir))[section]
    if not cases:
        raise InputError(f"{dataset_dir}: no case for {section}. Split the data set again: minivess data make --help.")
    return [case.to_item() for case in cases]


def load_pair(item: Mapping[Any, Any]) -> tuple[Volume, Volume]:
    """Read an image and its label, and reorient the label to the image's grid.

    A label whose axes are only permuted or flipped, as viewers write them, is reoriented exactly. Any other difference is
    refused, since an array that only has the right shape would label the wrong voxels.

    Args:
        item: ``image`` and ``label`` paths, and ``spacing`` and ``unit`` if the files do not state them.

    Returns:
        The image, and a uint8 mask of 0 and 1 on its grid.

    Raises:
        GeometryError: When the label is on another grid.
        InputError: When a file cannot be read, or the label contains more than 0 and one other value.
    """
    image = load_item(item, "image")
    label = _load_mask(item, "label", image)
    return image, image.with_array(label.astype(np.uint8))


def load_reviewed(item: Mapping[Any, Any], image: Volume) -> NDArray[np.bool_]:
    """Read the mask of reviewed voxels.

    Args:
        item: The path ``reviewed``; without it, all voxels were reviewed.
        image: The image of the item.

    Returns:
        (x, y, z) bool on the image's grid.

    Raises:
        GeometryError: When the mask is on another grid than the image.
        InputError: When it cannot be read, or is not a mask.
    """
    return _load_mask(item, "reviewed", image) if item.get("reviewed") else np.ones(image.shape, bool)


def _load_mask(item: Mapping[Any, Any], key: str, image: Volume) -> NDArray[np.bool_]:
    label = load_item(item, key)
    name = Path(str(item[key])).name
    if not label.same_grid(image):
        label = reorient(label, image.axis_codes)
    if not label.same_grid(image):
        raise GeometryError(
            f"{name}: the label is not on the image's grid. Image {image.shape}, spacing {image.spacing}, axes "
            f"{image.axis_codes}; label {label.shape}, spacing {label.spacing}. Save it again with the image as reference."
        )
    try:
        return as_mask(label.array, "label")
    except InputError as error:
        raise InputError(f"{name}: {error} Export the segment of the vessels alone.") from error


def check_dataset(path: Path) -> list[dict[str, Any]]:
    """Read every pair of a data set and check that it fits.

    Returns:
        One row for each case: section, name, subject, shape (x, y, z), spacing in um, share of vessel voxels.

    Raises:
        InputError: When a file cannot be read or a label is not a mask.
        GeometryError: When a label is not on its image's grid.
    """
    rows = []
    for section, cases in read_dataset(path).items():
        for case in cases:
            image, label = load_pair(case.to_item())
            rows.append(
                {
                    "section": section,
                    "name": case.name,
                    "subject": case.subject,
                    "shape": list(image.shape),
                    "spacing_um": [round(s, 4) for s in image.spacing_um],
                    "vessel_share": round(float(label.array.mean()), 4),
                }
            )
    return rows


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. A data set contains images/ and labels/.")
    entries = [f for f in folder.iterdir() if not f.name.startswith(".") and (f.is_dir() or suffix_of(f))]
    if any(f.suffix.lower() in SLICE_SUFFIXES - {".tif", ".tiff"} for f in folder.iterdir()):
        raise InputError(f"{folder} contains single slices. Move the slices of each volume to their own folder.")
    return {stem_of(f) if f.is_file() else f.name: f for f in entries}


def _as_case(row: dict[str, Any], base: Path) -> TrainingCase:
    spacing = row.get("spacing")
    image = base / row["image"]
    return TrainingCase(
        image=image,
        label=base / row["label"],
        subject=str(row.get("subject", stem_of(image))),
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        unit=row.get("unit"),
        reviewed=base / row["reviewed"] if row.get("reviewed") else None,
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
