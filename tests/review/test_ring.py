"""The skeleton graph of vessels that close on themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.review.skeleton_graph import skeleton_graph

ONE = (1.0, 1.0, 1.0)


def ring(radius: float, thickness: float) -> np.ndarray:
    size = int(2 * radius + 2 * thickness + 8)
    x, y, z = (
        axis - centre
        for axis, centre in zip(np.indices((size, size, 9)).astype(float), ((size - 1) / 2,) * 2 + (4.0,), strict=True)
    )
    return np.hypot(np.hypot(x, y) - radius, z) <= thickness


@pytest.mark.row(81)
@settings(max_examples=25, deadline=None)
@given(st.floats(10.0, 30.0), st.floats(1.0, 3.0))
def test_skeleton_graph__of_a_ring_has_its_length_and_no_end(radius: float, thickness: float) -> None:
    mask = ring(radius, thickness)
    whole = skeleton_graph(mask, ONE, longest_um=1e9).branches
    assert [branch.free_ends for branch in whole] == [0]
    assert whole[0].length_um == pytest.approx(2 * np.pi * radius, rel=0.2)
    parts = skeleton_graph(mask, ONE, longest_um=30.0).branches
    assert sum(branch.free_ends for branch in parts) == 0
    assert sum(branch.length_um for branch in parts) == pytest.approx(whole[0].length_um, abs=2.0 * len(parts))


@pytest.mark.row(81)
def test_skeleton_graph__of_a_ring_with_a_tail_has_one_end() -> None:
    mask = ring(20.0, 2.0)
    middle = mask.shape[0] // 2
    wide = np.pad(mask, ((0, 40), (0, 0), (0, 0)))
    wide[middle + 19 : middle + 55, middle - 1 : middle + 2, 3:6] = True
    branches = skeleton_graph(wide, ONE, longest_um=1e9).branches
    assert sum(branch.free_ends for branch in branches) == 1
    assert sum(branch.length_um for branch in branches) == pytest.approx(2 * np.pi * 20 + 34, rel=0.2)


@pytest.mark.row(81)
def test_skeleton_graph__of_a_voxel_and_of_a_bar() -> None:
    mask = np.zeros((60, 20, 9), bool)
    mask[2, 2, 2] = True
    mask[10:50, 10, 4] = True
    branches = sorted(skeleton_graph(mask, ONE, longest_um=1e9).branches, key=lambda branch: branch.length_um)
    assert [round(branch.length_um) for branch in branches] == [1, 39]
    assert branches[1].free_ends == 2
