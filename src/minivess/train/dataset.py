"""A data set: a folder with ``dataset.json``, in the form of the Medical Segmentation Decathlon, split by subject."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.models.transforms import load_item
from minivess.paths import write_json
from minivess.volume import Unit, Volume, reorient
from minivess.volume.io import stem_of, suffix_of
from minivess.volume.slices import SLICE_SUFFIXES

FILE_NAME = "dataset.json"
SECTIONS = ("training", "validation", "test")
#: What a label holds in training where nobody has looked; such voxels count in no loss and no score.
UNREVIEWED = -1.0


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        image: File or folder.
        label: File or folder on the same grid.
        subject: The animal or patient it belongs to; cases of one subject never meet across a split.
        spacing: Voxel size x, y, z for files that do not state it.
        unit: Unit of the spacing, ``"mm"`` or ``"um"``; it wins over what the file states.
        reviewed: Mask, on the same grid, of the voxels whose label somebody has looked at; None where that is all of them.
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
        """Give the row that MONAI's transforms read."""
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
        folder: Holds ``images/`` and ``labels/``, with equal names up to the suffix.
        subjects: Image name -> subject; an image that is not named is a subject of its own.
        validation: Subjects that choose the best checkpoint.
        test: Subjects that are only reported on.
        spacing: Voxel size for files that do not state it.
        unit: Unit of the spacing.

    Returns:
        Path of the written file.

    Raises:
        InputError: When an image has no label or the other way round, or a subject named for a split does not exist.
    """
    images, labels = (_by_stem(folder / name) for name in ("images", "labels"))
    unpaired = sorted(set(images) ^ set(labels))
    if unpaired or not images:
        raise InputError(
            f"{folder}: images/ and labels/ must hold the same names. Without a partner: {', '.join(unpaired[:5]) or 'all'}."
        )
    cases = [Case(images[stem], labels[stem], (subjects or {}).get(stem, stem), spacing, unit) for stem in sorted(images)]
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


def read_dataset(path: Path) -> dict[str, list[Case]]:
    """Read ``dataset.json`` (or the folder that holds it).

    Returns:
        Section (training, validation, test) -> cases, with absolute paths.

    Raises:
        InputError: When the file is missing, a row is incomplete, or a subject stands in two sections.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"No data set at {path}. Make one: minivess data make {path.parent}")
    try:
        content = json.loads(path.read_text())
        sections = {s: [_as_case(row, path.parent) for row in content.get(s, [])] for s in SECTIONS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: rows are {{'image': ..., 'label': ..., 'subject': ...}}. Got {error!r}.") from error
    _refuse_leaks(sections, path)
    return sections


def items(dataset_dir: str, section: str) -> list[dict[str, Any]]:
    """List a section of a data set as the rows that MONAI's transforms read.

    Raises:
        InputError: When the section is empty.
    """
    cases = read_dataset(Path(dataset_dir))[section]
    if not cases:
        raise InputError(f"{dataset_dir}: no case for {section}. Split the data set again: minivess data make --help.")
    return [case.to_item() for case in cases]


def load_pair(item: Mapping[Any, Any]) -> tuple[Volume, Volume]:
    """Read an image and its label, and lay the label on the image's grid.

    A label whose axes are only turned or flipped, as viewers write them, is turned back exactly; any other difference is
    refused, since an array that merely has the right shape would teach the wrong places.

    Args:
        item: ``image`` and ``label`` paths, and ``spacing`` and ``unit`` where the files do not state them.

    Returns:
        The image, and a uint8 mask of 0 and 1.

    Raises:
        GeometryError: When the label lies on another grid.
        InputError: When a file cannot be read, or the label holds more than 0 and one other value.
    """
    image = load_item(item, "image")
    label = _load_mask(item, "label", image)
    return image, image.with_array(label.astype(np.uint8))


def load_reviewed(item: Mapping[Any, Any], image: Volume) -> NDArray[np.bool_]:
    """Read which voxels of a label somebody has looked at; all where the item does not say.

    Raises:
        GeometryError: When the mask lies on another grid than the image.
        InputError: When it cannot be read, or is no mask.
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
    inside = label.array[label.array != 0]
    if inside.size and (inside != inside[0]).any():
        raise InputError(
            f"{name}: a mask holds 0 and one other value. Got {np.unique(inside)[:6].tolist()}. "
            "Export the segment of the vessels alone."
        )
    return np.asarray(label.array != 0)


def check_dataset(path: Path) -> list[dict[str, Any]]:
    """Read every pair of a data set and check that it fits.

    Returns:
        One row a case: section, name, subject, shape, spacing in um, share of vessel voxels.

    Raises:
        InputError: When a file cannot be read or a label is no mask.
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
        raise InputError(f"There is no folder {folder}. A data set holds images/ and labels/.")
    found = [f for f in folder.iterdir() if not f.name.startswith(".") and (f.is_dir() or suffix_of(f))]
    if any(f.suffix.lower() in SLICE_SUFFIXES - {".tif", ".tiff"} for f in folder.iterdir()):
        raise InputError(f"{folder} holds single slices. Put the slices of each volume into a folder of their own.")
    return {stem_of(f) if f.is_file() else f.name: f for f in found}


def _as_case(row: dict[str, Any], base: Path) -> Case:
    spacing = row.get("spacing")
    image = base / row["image"]
    return Case(
        image=image,
        label=base / row["label"],
        subject=str(row.get("subject", stem_of(image))),
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        unit=row.get("unit"),
        reviewed=base / row["reviewed"] if row.get("reviewed") else None,
    )


def _refuse_leaks(sections: dict[str, list[Case]], path: Path) -> None:
    seen: dict[str, str] = {}
    for section, cases in sections.items():
        for case in cases:
            if seen.setdefault(case.subject, section) != section:
                raise InputError(
                    f"{path}: subject {case.subject} stands in {seen[case.subject]} and in {section}. Split by subject, "
                    "else the score says nothing about new animals."
                )
