"""Samples of answers whose errors can be counted by hand; a voxel is 1 x 1 x 5 um, a block 8 x 8 x 2 voxels."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from review.example import make_region

from minivess.review.blocks import FEATURE_NAMES, BlockFeatures
from minivess.review.ranker import BlockSamples
from minivess.review.ranker_samples import SampleFolder, samples_from_answer
from minivess.store import Answer, QueueItem
from minivess.volume import Box

SHAPE, GRID = (30, 32, 5), (4, 4, 3)
SPACING_UM = (1.0, 1.0, 5.0)


@pytest.fixture(scope="module")
def blocks() -> BlockFeatures:
    """Blocks whose first feature is their number."""
    features = np.zeros((48, len(FEATURE_NAMES)), np.float32)
    features[:, 0] = np.arange(48)
    return BlockFeatures(GRID, (8, 8, 2), np.full(48, 128), 5.0, features)


def number(x: int, y: int, z: int) -> int:
    """The number of a block."""
    return (x * GRID[1] + y) * GRID[2] + z


def samples(blocks: BlockFeatures, box: Box, shown: np.ndarray, accepted: np.ndarray) -> dict[int, float]:
    """Errors by the number of the block."""
    result = samples_from_answer(blocks, box, shown[box.slices], accepted[box.slices], SPACING_UM)
    assert (result.answer_index == 0).all()
    assert (result.volume_index == 0).all()
    return dict(zip(result.features[:, 0].astype(int).tolist(), result.errors.tolist(), strict=True))


def mask_of(*boxes: Box) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for box in boxes:
        mask[box.slices] = True
    return mask


def test_samples_from_answer__an_error_counts_in_each_block_by_its_share(blocks: BlockFeatures) -> None:
    box = Box(4, 20, 8, 16, 0, 2)  # half of block 0, block 1, half of block 2 along x
    missed = mask_of(Box(6, 14, 8, 16, 0, 2))  # 2 of 8 slices in block 0, 6 in block 1
    expected = {number(0, 1, 0): 0.25, number(1, 1, 0): 0.75, number(2, 1, 0): 0.0}
    assert samples(blocks, box, mask_of(), missed) == pytest.approx(expected)
    assert samples(blocks, box, missed, mask_of()) == pytest.approx(expected)  # a false positive counts as a missed vessel does


def test_samples_from_answer__small_errors_and_outlines_do_not_count(blocks: BlockFeatures) -> None:
    box, vessel = Box(0, 16, 0, 32, 0, 4), Box(0, 16, 4, 10, 0, 4)
    shown = mask_of(vessel)
    small = Box(2, 7, 20, 29, 0, 1)  # 45 voxels of 5 um3: 225 um3
    outline = Box(0, 16, 10, 12, 0, 4)  # within 2 um of the vessel
    assert set(samples(blocks, box, shown, mask_of(vessel, small, outline)).values()) == {0.0}
    counted = small._replace(y1=30)  # 50 voxels: 250 um3
    assert samples(blocks, box, shown, mask_of(vessel, counted, outline))[number(0, 3, 0)] == pytest.approx(6 * 5 / 50)


def test_samples_from_answer__several_errors_add_up_and_voxels_outside_the_region_do_not_count(blocks: BlockFeatures) -> None:
    box = Box(16, 30, 16, 32, 2, 5)  # ends with the volume: blocks of 6 x 8 and of 1 slice
    shown = mask_of(Box(0, 10, 0, 10, 0, 2), Box(16, 24, 16, 20, 2, 4))
    accepted = mask_of(Box(24, 30, 26, 32, 4, 5), Box(24, 30, 26, 32, 2, 3))  # 36 voxels each: 180 um3
    errors = samples(blocks, box, shown, accepted)
    assert len(errors) == 2 * 2 * 2
    assert errors[number(2, 2, 1)] == pytest.approx(1.0)  # what was removed, 64 voxels
    assert sum(errors.values()) == pytest.approx(1.0)
    accepted = mask_of(Box(24, 30, 22, 32, 4, 5), Box(24, 30, 22, 32, 2, 3))  # 60 voxels: 300 um3; 2 of 10 rows in y block 2
    errors = samples(blocks, box, shown, accepted)
    expected = {number(3, 2, 1): 0.2, number(3, 3, 1): 0.8, number(3, 2, 2): 0.2, number(3, 3, 2): 0.8, number(2, 2, 1): 1.0}
    assert {block: error for block, error in errors.items() if error} == pytest.approx(expected)


def answered(item_id: str) -> QueueItem:
    image_id = item_id.partition(":")[0]
    return QueueItem(item_id, image_id, make_region(Box(0, 8, 0, 8, 0, 2)), "one", "accepted", "ann", Answer(3))


def made_samples(value: float, rows: int = 2, features: int = len(FEATURE_NAMES)) -> BlockSamples:
    zeros = np.zeros(rows, np.int64)
    return BlockSamples(np.full((rows, features), value, np.float32), np.full(rows, value), zeros, zeros)


def test_sample_folder__reads_what_was_written_for_answers_that_stand(tmp_path: Path) -> None:
    folder = SampleFolder(tmp_path / "samples")
    items = [answered(item_id) for item_id in ("a:1.0", "a:1.1", "b:7.0", "c:9.2")]
    assert folder.read("a", items) is None
    for value, item in enumerate(items, start=1):
        folder.write(item, made_samples(value))
    result = folder.read("a", items[:3])
    assert result is not None
    assert result.errors.tolist() == [1, 1, 2, 2, 3, 3]
    assert result.features[:, 0].tolist() == [1, 1, 2, 2, 3, 3]
    assert result.answer_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.volume_index.tolist() == [0, 0, 0, 0, 1, 1]
    other = folder.read("b", items)
    assert other is not None
    assert other.errors.tolist() == [3, 3, 1, 1, 2, 2, 4, 4]
    assert other.volume_index.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert folder.read("a", []) is None  # all withdrawn


def test_sample_folder__an_answer_given_again_replaces_its_samples(tmp_path: Path) -> None:
    folder, item = SampleFolder(tmp_path), answered("a:1.0")
    folder.write(item, made_samples(1))
    folder.write(replace(item, state="fixed"), made_samples(5, rows=3))
    result = folder.read("a", [item])
    assert result is not None
    assert result.errors.tolist() == [5, 5, 5]


def test_sample_folder__samples_with_the_features_of_an_older_version_are_ignored(tmp_path: Path) -> None:
    folder, items = SampleFolder(tmp_path), [answered("a:1.0"), answered("a:1.1")]
    folder.write(items[0], made_samples(1, features=len(FEATURE_NAMES) - 1))
    assert folder.read("a", items) is None
    folder.write(items[1], made_samples(2))
    result = folder.read("a", items)
    assert result is not None
    assert result.errors.tolist() == [2, 2]


def test_sample_folder__a_failed_write_is_logged_and_loses_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    folder, item = SampleFolder(tmp_path / "file" / "samples"), answered("a:1.0")
    with caplog.at_level(logging.WARNING):
        folder.write(item, made_samples(1))
    assert "training samples of an answer could not be written: Not a directory" in caplog.text
    assert folder.read("a", [item]) is None
