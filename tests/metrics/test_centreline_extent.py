"""Centre-lines keep the extent of every component: straight vessels of any thickness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.metrics import compare_masks
from minivess.metrics.centreline import centreline_lengths
from minivess.synth import make_sample

ONE = (1.0, 1.0, 1.0)


def bar(length: int, width: int, height: int, axis: int = 0) -> np.ndarray:
    shape = [length + 8, width + 8, height + 8]
    mask = np.zeros(shape, bool)
    mask[4 : 4 + length, 4 : 4 + width, 4 : 4 + height] = True
    return np.moveaxis(mask, 0, axis)


@pytest.mark.row(80)
@settings(max_examples=60, deadline=None)
@given(st.integers(30, 60), st.integers(1, 6), st.integers(0, 1), st.integers(0, 2))
def test_centreline__of_a_straight_vessel_is_as_long_as_the_vessel(length: int, width: int, more: int, axis: int) -> None:
    _, lengths = centreline_lengths(bar(length, width, width + more, axis), ONE)
    assert length - 2 * width - 2 <= lengths.sum() <= 1.5 * length + 3 * width + 2


@pytest.mark.row(80)
@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
def test_centreline__of_a_cylinder_about_a_voxel_corner(radius: float) -> None:
    x, y = np.indices((20, 20)) - 9.5
    tube = np.zeros((60, 20, 20), bool)
    tube[4:56] = np.hypot(x, y) <= radius
    assert 52 - 2 * radius - 1 <= centreline_lengths(tube, ONE)[1].sum() <= 75


@pytest.mark.row(80)
def test_cldice__of_two_vessels_of_which_one_is_missed_is_two_thirds() -> None:
    odd, even = np.zeros((64, 40, 16), bool), np.zeros((64, 40, 16), bool)
    odd[4:60, 6:9, 6:9], even[4:60, 26:30, 6:10] = True, True
    for prediction in (odd, even):
        assert compare_masks(odd | even, prediction, ONE).cldice == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.row(80)
def test_centreline__is_as_long_as_the_truth_of_a_synthetic_network() -> None:
    for kind, index in (("capillary", 0), ("large", 1)):
        sample = make_sample(kind, index, shape=(128, 128, 16))
        spacing = sample.image.spacing_um
        length = centreline_lengths(sample.mask.array > 0, spacing)[1].sum()
        truth = centreline_lengths(sample.centreline.array > 0, spacing)[1].sum()
        assert 0.6 * truth < length < 1.4 * truth
