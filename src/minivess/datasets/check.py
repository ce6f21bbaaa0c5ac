"""Check a data set: refuse what is certainly wrong, and warn of what probably is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from minivess.datasets.dataset import TrainingCase, read_dataset
from minivess.datasets.pairs import load_pair
from minivess.errors import InputError
from minivess.volume import Volume

#: Share of vessel voxels above which a label is probably inverted.
_MUCH_VESSEL = 0.5
#: Difference of the correlation of every second and of neighbouring slices, above which the planes of two channels alternate.
_INTERLEAVED = 0.25
#: Voxel edge above which a volume of vessels is probably stated in the wrong unit, in um.
_LARGE_VOXEL_UM = 5000.0


@dataclass(frozen=True)
class DatasetReport:
    """The result of a check.

    Attributes:
        rows: One for each case: section, name, subject, shape (x, y, z), spacing in um, share of vessel voxels.
        warnings: What is probably wrong, in sentences.
    """

    rows: list[dict[str, Any]]
    warnings: list[str]


def check_dataset(path: Path) -> DatasetReport:
    """Read every pair of a data set and check that it fits.

    Raises:
        InputError: When a file cannot be read, a label is not a mask, or one image is in two sections under two names.
        GeometryError: When a label is not on its image's grid.
    """
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    seen: dict[str, tuple[str, TrainingCase]] = {}
    for section, cases in read_dataset(path).items():
        for case in cases:
            image, label = load_pair(case.to_item())
            rows.append(_row(section, case, image, label))
            warnings += [f"{case.name}: {text}" for text in suspicions(image, label.array > 0)]
            other = seen.setdefault(hashlib.sha256(image.array.tobytes()).hexdigest(), (section, case))
            if other[1] is not case:
                warnings += _same_image(section, case, *other)
    return DatasetReport(rows, warnings)


def _row(section: str, case: TrainingCase, image: Volume, label: Volume) -> dict[str, Any]:
    return {
        "section": section,
        "name": case.name,
        "subject": case.subject,
        "shape": list(image.shape),
        "spacing_um": [round(s, 4) for s in image.spacing_um],
        "vessel_share": round(float(label.array.mean()), 4),
    }


def _same_image(section: str, case: TrainingCase, other_section: str, other: TrainingCase) -> list[str]:
    text = f"{case.name} ({section}) and {other.name} ({other_section}) have the same voxels"
    if section != other_section:
        raise InputError(f"{text}: the score would be that of an image that was learned. Remove one, or put both in one section.")
    return [f"{text}. Is one of them a copy?"]


def suspicions(image: Volume, vessel: NDArray[np.bool_]) -> list[str]:
    """List what is probably wrong with a pair of image and label, in sentences without the name.

    Args:
        image: The image.
        vessel: (x, y, z) bool, its label.
    """
    found = []
    share = float(vessel.mean())
    low, high = float(image.array.min()), float(image.array.max())
    if low == high:
        found.append(f"the image is constant ({low:g})")
    if share == 0.0:
        found.append("the label is empty. Is there no vessel in this image?")
    elif share > _MUCH_VESSEL:
        found.append(f"{100 * share:.0f} % of the voxels are vessel. Is the label inverted?")
    elif low < high and _below_chance(image.array, vessel):
        found.append("the label lies on darker voxels than the rest. Does it belong to another image, or is it transposed?")
    if _is_interleaved(image.array):
        found.append(
            "every second slice is alike, and neighbours are not. Do the planes of two channels alternate? See --channel"
        )
    if max(image.spacing_um) > _LARGE_VOXEL_UM:
        found.append(f"a voxel is {max(image.spacing_um):g} um long. Is the unit right?")
    x, y, z = image.spacing_um
    if z < min(x, y) / 2 and image.shape[2] < min(image.shape[:2]):
        found.append(f"slices are nearer ({z:g} um) than pixels ({x:g} x {y:g} um). Are x and z exchanged in the spacing?")
    return found


def _below_chance(array: NDArray[Any], vessel: NDArray[np.bool_]) -> bool:
    """Return whether the label contains fewer bright voxels (Otsu) than a random one of the same size would."""
    values = array.astype(np.float32)
    bright = values > threshold_otsu(values)
    return bool(bright[vessel].mean() < bright.mean() and values[vessel].mean() < values.mean())


def _is_interleaved(array: NDArray[Any]) -> bool:
    slices = array.shape[2]
    if slices < 6 or slices % 2:
        return False
    rows = array[::4, ::4].astype(np.float64).reshape(-1, slices).T
    if (rows.std(axis=1) == 0).any():
        return False
    correlation = np.corrcoef(rows)
    neighbours, seconds = (float(np.mean(np.diagonal(correlation, offset))) for offset in (1, 2))
    return seconds - neighbours > _INTERLEAVED
