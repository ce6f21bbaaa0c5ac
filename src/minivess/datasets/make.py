"""Make a data set: pair images with labels by name, split them by subject, and write ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivess.datasets.dataset import FILE_NAME, SECTIONS, TrainingCase
from minivess.errors import ConflictError, InputError
from minivess.paths import write_json
from minivess.volume import Unit
from minivess.volume.checks import SPACING_RANGE_UM, check_spacing
from minivess.volume.io import stem_of, suffix_of
from minivess.volume.planes import Planes
from minivess.volume.slices import SLICE_SUFFIXES
from minivess.volume.units import to_um

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class FileOptions:
    """How the files of a data set are read.

    Attributes:
        spacing: Voxel size (x, y, z), for files that do not state it.
        spacing_of: Image name -> its voxel size; it goes before ``spacing``.
        unit: Unit of both.
        planes: Which planes of images with several channels or time points are read.
        label_threshold: Labels are vessel above this value, for masks that are saved as JPEG; None for masks of two values.
    """

    spacing: Spacing | None = None
    spacing_of: Mapping[str, Spacing] = field(default_factory=dict)
    unit: Unit | None = None
    planes: Planes = Planes()  # noqa: RUF009 (frozen)
    label_threshold: float | None = None


def make_dataset(
    folder: Path,
    *,
    subjects: Mapping[str, str] | None = None,
    validation: Sequence[str] = (),
    test: Sequence[str] = (),
    options: FileOptions = FileOptions(),
    image_suffixes: Sequence[str] = (),
    label_suffixes: Sequence[str] = (),
    replace: bool = False,
) -> Path:
    """Pair ``images/`` with ``labels/`` by name, split them by subject, and write ``dataset.json``.

    Args:
        folder: Contains ``images/`` and ``labels/``, with equal names up to the suffix.
        subjects: Image name -> subject; an image that is not named is its own subject.
        validation: Subjects that select the best checkpoint.
        test: Subjects that are only reported on.
        options: How the files are read.
        image_suffixes: Ends of the names of images that are not part of the pair's name, for example ``_denoised``.
        label_suffixes: The same for labels, for example ``_labels_v1``.
        replace: Replace a ``dataset.json`` that has other content.

    Returns:
        Path of the written file.

    Raises:
        InputError: When an image has no label or a label no image, two files have one name, a name or subject is unknown, a
            subject is in both splits, none is left for training, or a spacing is absurd.
        ConflictError: When there is a ``dataset.json`` with other content and ``replace`` is not set.
    """
    images = files_by_name(folder / "images", image_suffixes)
    labels = files_by_name(folder / "labels", label_suffixes)
    _check_pairs(folder, images, labels)
    subjects = dict(subjects or {})
    _check_known("--subject", subjects, images)
    _check_known("the spacing of a stack", options.spacing_of, images)
    for size in (options.spacing, *options.spacing_of.values()):
        _check_size(size, options.unit)
    cases = [_case(name, images[name], labels[name], subjects, options) for name in sorted(images)]
    content = _split(folder, cases, validation, test)
    _write(folder / FILE_NAME, content, replace=replace)
    return folder / FILE_NAME


def files_by_name(folder: Path, endings: Sequence[str] = ()) -> dict[str, Path]:
    """Return name -> file or folder of the volumes in a folder; the name has no suffix, no ``.seg``, and no ending.

    Args:
        folder: Folder of images or of labels.
        endings: Ends of the names that are not part of them.

    Raises:
        InputError: When there is no such folder, it contains single slices, or two files have one name.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. A data set contains images/ and labels/.")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.name == "minivess_store" or not (file.is_dir() or suffix_of(file)):
            if file.suffix.lower() in SLICE_SUFFIXES - {".tif", ".tiff"}:
                raise InputError(f"{folder} contains single slices. Move the slices of each volume to their own folder.")
            continue
        name = (stem_of(file) if file.is_file() else file.name).removesuffix(".seg")
        name = name.removesuffix(next((ending for ending in sorted(endings, key=len, reverse=True) if name.endswith(ending)), ""))
        if name in found:
            raise InputError(
                f"{folder}: {found[name].name} and {file.name} have the same name {name!r}, and one image has one file. "
                "Remove or rename one of them."
            )
        found[name] = file
    return found


def _check_pairs(folder: Path, images: Mapping[str, Path], labels: Mapping[str, Path]) -> None:
    unpaired = sorted(set(images) ^ set(labels))
    if not images and not labels:
        raise InputError(f"{folder}: images/ and labels/ contain no volumes.")
    if unpaired:
        raise InputError(
            f"{folder}: images/ and labels/ must contain the same names. Without a partner: {', '.join(unpaired[:5])}"
            f"{f' and {len(unpaired) - 5} more' if len(unpaired) > 5 else ''}.{_proposal(images, labels)}"
        )


def _proposal(images: Mapping[str, Path], labels: Mapping[str, Path]) -> str:
    """Return the options that would make pairs of names which begin alike; empty when there are none."""
    starts = [_common_start(name, list(labels)) for name in images]
    if len({label for _, label in starts}) != len(images) or len(images) != len(labels) or not all(start for start, _ in starts):
        return ""
    ends = {("image", name[len(start) :]) for name, (start, _) in zip(images, starts, strict=True)}
    ends |= {("label", label[len(start) :]) for start, label in starts}
    options = [f"--{what}-suffix={end}" for what, end in sorted(ends) if end]
    return f" Do the names end differently? Then: {' '.join(options)}"


def _common_start(name: str, others: Sequence[str]) -> tuple[str, str]:
    def common(other: str) -> int:
        return next((i for i, (a, b) in enumerate(zip(name, other, strict=False)) if a != b), min(len(name), len(other)))

    best = max(others, key=common, default="")
    return name[: common(best)].rstrip("_-. "), best


def _check_known(what: str, named: Mapping[str, Any], images: Mapping[str, Path]) -> None:
    unknown = sorted(set(named) - set(images))
    if unknown:
        raise InputError(f"{what} names {unknown[0]!r}, which is no image. Images: {', '.join(sorted(images)[:8])}.")


def _check_size(spacing: Spacing | None, unit: Unit | None) -> None:
    if spacing is None:
        return
    sizes_um = to_um(check_spacing(spacing, source="spacing"), unit or "um")
    low, high = SPACING_RANGE_UM
    if (sizes_um < low).any() or (sizes_um > high).any():
        shown = " x ".join(f"{size:g}" for size in sizes_um)
        raise InputError(
            f"A voxel of {shown} um is not plausible; allowed are {low:g} to {high:g} um. Set the correct unit: --unit."
        )


def _case(name: str, image: Path, label: Path, subjects: Mapping[str, str], options: FileOptions) -> TrainingCase:
    planes = options.planes
    return TrainingCase(
        image=image,
        label=label,
        subject=subjects.get(name, name),
        spacing=options.spacing_of.get(name, options.spacing),
        unit=options.unit,
        channel=planes.channel,
        time=planes.time,
        depth_axis=planes.depth_axis,
        label_threshold=options.label_threshold,
    )


def _split(folder: Path, cases: Sequence[TrainingCase], validation: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    known = {case.subject for case in cases}
    unknown, twice = sorted((set(validation) | set(test)) - known), sorted(set(validation) & set(test))
    if unknown or twice:
        wrong = f"Unknown: {', '.join(unknown)}." if unknown else f"In validation and in test: {', '.join(twice)}."
        raise InputError(f"Subjects to split by: {', '.join(sorted(known))}. {wrong}")
    if known <= set(validation) | set(test) and not known <= set(test):  # all in test: a set to evaluate on
        raise InputError("No subject is left for training: all are in validation or in test. Leave at least one out.")
    content: dict[str, Any] = {"name": folder.name, "labels": {"0": "background", "1": "vessel"}, "tensorImageSize": "3D"}
    for section in SECTIONS:
        content[section] = []
    for case in cases:
        section = "test" if case.subject in test else "validation" if case.subject in validation else "training"
        item = case.to_item()
        for key in ("image", "label"):
            item[key] = str(Path(item[key]).relative_to(folder))
        content[section].append(item)
    return content


def _write(path: Path, content: dict[str, Any], *, replace: bool) -> None:
    if path.exists() and not replace:
        try:
            same = json.loads(path.read_text()) == content
        except ValueError:
            same = False
        if not same:
            raise ConflictError(
                f"{path} exists with other content, perhaps edited by hand. Nothing was changed. Replace it: "
                "--replace, or move it away."
            )
    write_json(path, content)
