from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review.example_stack import SPACING

from minivess.review.blocks import FEATURE_NAMES, BlockFeatures, compute_block_features
from minivess.review.region_selection import MIN_EXPECTED_ERRORS, blocks_to_voxels, select_boxes
from minivess.volume import Box


def empty_blocks(grid: tuple[int, int, int]) -> BlockFeatures:
    count = int(np.prod(grid))
    return BlockFeatures(grid, (8, 8, 2), np.full(count, 128), 5.0, np.zeros((count, len(FEATURE_NAMES)), np.float32))


def test_select_boxes__ends_where_no_errors_are_expected() -> None:
    p = np.zeros((32, 32, 8), np.float32)
    blocks = compute_block_features(p, p > 0.5, p, SPACING)
    assert select_boxes(blocks, np.zeros(len(blocks.voxels)), SPACING, count=10) == []
    one = np.zeros(len(blocks.voxels))
    one[5] = 1.0
    ((box, expected),) = select_boxes(blocks, one, SPACING, count=10)
    assert expected == pytest.approx(1.0)
    assert box.x0 == 0


@given(grid=st.tuples(*(st.integers(1, n) for n in (20, 12, 5))), seed=st.integers(0, 1000))
def test_select_boxes__each_box_is_half_new_and_holds_the_errors_stated(grid: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks, score, seen = empty_blocks(grid), rng.exponential(0.1, int(np.prod(grid))), rng.random(grid) < 0.3
    boxes = select_boxes(blocks, score, SPACING, count=6, reviewed=seen)
    assert len(boxes) <= 6
    assert [e for _, e in boxes] == sorted((e for _, e in boxes), reverse=True)
    left = np.where(seen, 0.0, score.reshape(grid))
    for box, expected in boxes:
        assert box.fits(grid)
        assert expected >= MIN_EXPECTED_ERRORS
        assert (~seen[box.slices]).mean() >= 0.5
        assert expected <= left[box.slices].sum() + 1e-9  # less where it overlaps a window that was not new enough
        seen[box.slices], left[box.slices] = True, 0


def test_blocks_to_voxels__the_last_blocks_may_be_smaller() -> None:
    blocks = empty_blocks((4, 4, 3))
    assert blocks_to_voxels(Box(1, 3, 0, 2, 1, 2), blocks, (30, 32, 5)) == Box(8, 24, 0, 16, 2, 4)
    assert blocks_to_voxels(Box(1, 4, 0, 4, 1, 3), blocks, (30, 32, 5)) == Box(8, 30, 0, 32, 2, 5)


def test_select_boxes__the_first_is_where_most_errors_are_expected() -> None:
    blocks, rng = empty_blocks((12, 10, 4)), np.random.default_rng(0)
    score = rng.exponential(0.1, blocks.grid)
    sums = {
        Box(x, x + 8, y, y + 8, z, z + 2): score[x : x + 8, y : y + 8, z : z + 2].sum() for x, y, z in np.ndindex(5, 3, 3)
    }  # 64 x 64 x 20 um
    ((box, expected),) = select_boxes(blocks, score.ravel(), SPACING, count=1)
    assert box == max(sums, key=lambda window: sums[window])
    assert expected == pytest.approx(sums[box])
