from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review.example_stack import SPACING

from minivess.review.blocks import FEATURE_NAMES, block_shape_from_spacing, compute_block_features, sum_blocks


@pytest.mark.parametrize("shape", [(16, 16, 4), (17, 9, 5), (3, 2, 1)])
def test_compute_block_features__blocks_cover_every_voxel_once(shape: tuple[int, int, int]) -> None:
    p = np.random.default_rng(0).random(shape).astype(np.float32)
    blocks = compute_block_features(p, p > 0.5, p, SPACING)
    assert blocks.block_shape == (8, 8, 2)
    assert blocks.voxels.sum() == p.size
    assert blocks.features.shape == (len(blocks.voxels), len(FEATURE_NAMES))
    assert (blocks.column("mean probability") * blocks.voxels).sum() == pytest.approx(p.sum(), rel=1e-4)
    assert sum_blocks(np.ones(shape), blocks.block_shape).sum() == p.size


@given(
    shape=st.tuples(*(st.integers(1, 9) for _ in range(3))),
    block_shape=st.tuples(*(st.integers(1, 5) for _ in range(3))),
    seed=st.integers(0, 1000),
)
def test_compute_block_features__means_and_maxima_of_the_voxels_of_each_block(
    shape: tuple[int, int, int], block_shape: tuple[int, int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    p, contrast = rng.random(shape, dtype=np.float32), rng.normal(-3, 1, shape).astype(np.float32)
    mask = rng.random(shape) < 0.5
    blocks = compute_block_features(p, mask, contrast, SPACING, error_probability=p, block_shape=block_shape)
    sums = sum_blocks(p, block_shape)
    assert blocks.grid == sums.shape == tuple(-(-n // b) for n, b in zip(shape, block_shape, strict=True))
    columns = {name: blocks.to_grid(blocks.column(name)) for name in FEATURE_NAMES}
    for index in np.ndindex(*blocks.grid):
        window = tuple(slice(i * b, (i + 1) * b) for i, b in zip(index, block_shape, strict=True))
        assert sums[index] == pytest.approx(p[window].sum(dtype=np.float64))
        assert blocks.to_grid(blocks.voxels)[index] == p[window].size
        assert columns["mean vessel"][index] == pytest.approx(mask[window].mean())
        assert columns["mean false positive"][index] == pytest.approx(np.where(mask, p, 0)[window].mean())
        assert columns["maximum probability"][index] == p[window].max()
        assert columns["maximum contrast"][index] == contrast[window].max()  # below 0: not that of padding


def test_block_shape_from_spacing__is_about_8_x_8_x_10_um_and_at_least_one_voxel() -> None:
    assert block_shape_from_spacing((0.994, 0.994, 5.0)) == (8, 8, 2)
    assert block_shape_from_spacing((20.0, 1.59, 50.0)) == (1, 5, 1)
