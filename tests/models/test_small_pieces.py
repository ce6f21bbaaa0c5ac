"""Small loose pieces lose their probability; vessels, and what may go on outside a box, keep it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minivess.errors import BundleError
from minivess.models.small_pieces import check_min_mass, suppress_small_pieces
from minivess.models.threshold import RANGE, choose_threshold
from minivess.models.transforms import SuppressSmallPiecesd


def speckled(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    probability = np.where(rng.random((30, 30, 6)) < 0.01, rng.random((30, 30, 6)), 0.01)
    probability[:, 14:16, 2:4] = 0.8
    return probability.astype(np.float32)


@given(st.integers(0, 1000), st.floats(1, 60))
def test_suppress_small_pieces__the_vessel_stays_and_the_rest_is_below_every_threshold(seed: int, mass: float) -> None:
    before = speckled(seed)
    after = suppress_small_pieces(before.copy(), mass)
    np.testing.assert_array_equal(after[:, 14:16, 2:4], before[:, 14:16, 2:4])
    assert (after <= before).all()
    changed = after < before
    assert (after[changed] < RANGE[0]).all()
    assert suppress_small_pieces(after.copy(), mass).sum() == after.sum()  # once is enough
    assert choose_threshold(after, "expected_dice") >= RANGE[0]


def test_suppress_small_pieces__more_evidence_more_probability() -> None:
    probability = np.zeros((20, 5, 1), np.float32)
    probability[0, 0], probability[10:13, 0] = 0.9, 0.9
    after = suppress_small_pieces(probability, 10.0)
    assert 0 < after[0, 0, 0] < after[11, 0, 0] < RANGE[0]


def test_suppress_small_pieces__a_piece_at_the_face_of_a_box_may_go_on() -> None:
    probability = np.zeros((9, 9, 3), np.float32)
    probability[0, 4, 1] = probability[8, 4, 1] = 0.9
    after = suppress_small_pieces(probability, 5.0, cut_faces=[(0, -1)])
    assert after[8, 4, 1] == np.float32(0.9)
    assert after[0, 4, 1] < 0.3


def test_suppress_small_pieces__nothing_to_do() -> None:
    before = speckled(0)
    np.testing.assert_array_equal(suppress_small_pieces(before.copy(), 0.0), before)
    empty = np.zeros((3, 3, 3), np.float32)
    np.testing.assert_array_equal(suppress_small_pieces(empty.copy(), 5.0), empty)


def test_transform__computes_the_same() -> None:
    before = speckled(1)
    after = SuppressSmallPiecesd(["pred"], 20.0)({"pred": torch.from_numpy(before)[None]})["pred"][0].numpy()
    np.testing.assert_array_equal(after, suppress_small_pieces(before.copy(), 20.0))


@pytest.mark.parametrize("value", [-1, "25", None, True, float("nan"), float("inf")])
def test_check_min_mass__refuses(value: object) -> None:
    with pytest.raises(BundleError, match="min_piece_mass"):
        check_min_mass(value)
