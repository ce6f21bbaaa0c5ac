"""A small studies folder with two images and a label, and regions for its queue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minivess.store import Region
from minivess.volume import Box, Volume, write_volume

AFFINE = np.array([[-0.6, 0, 0, 10], [0, 0.6, 0, -20], [0, 0, 5.0, 3], [0, 0, 0, 1]])


def label_volume(seed: int = 0, shape: tuple[int, int, int] = (12, 10, 4), value: int = 1) -> Volume:
    mask = (np.random.default_rng(seed).random(shape) > 0.7).astype(np.uint8) * value
    return Volume(mask, AFFINE, "um")


def image_volume(seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).integers(0, 4000, (12, 10, 4)).astype(np.uint16), AFFINE, "um")


def regions_of(*expected_errors: float) -> list[Region]:
    """One small region for each number of expected errors."""
    corners = (0.3, -20.3, 0.5, -2.1, -17.9, 10.5)
    return [
        Region((-0.8, -19.1, 5.5), Box(0, 4, 0, 4, 0, 2), corners, "gap", errors, 40.0 * errors, 12.0, "a branch may continue")
        for errors in expected_errors
    ]


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    for index, name in enumerate(("a.nii.gz", "mouse2/b.nrrd")):
        write_volume(image_volume(index), folder / name)
    return folder


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    return write_volume(label_volume(), tmp_path / "upload.nii.gz")
