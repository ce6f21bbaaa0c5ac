from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.uncertainty import combine


def test_combine__mutual_information_by_hand() -> None:
    one, other = np.full((1, 1, 1), 0.2, np.float32), np.full((1, 1, 1), 0.8, np.float32)
    combined = combine([one, other])
    within = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    assert combined.probability.item() == pytest.approx(0.5)
    assert combined.entropy.item() == pytest.approx(np.log(2))
    assert combined.mutual_information.item() == pytest.approx(np.log(2) - within, abs=1e-6)


def test_combine__equal_passes_have_no_mutual_information() -> None:
    p = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    combined = combine([p, p, p])
    np.testing.assert_allclose(combined.probability, p, atol=1e-6)
    assert combined.mutual_information.max() < 1e-5
    assert combined.passes == 3


def test_combine__refuses_no_pass_and_different_grids() -> None:
    with pytest.raises(InputError, match="no pass"):
        combine([])
    with pytest.raises(InputError, match="one grid"):
        combine([np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 3), np.float32)])


def test_combine__each_pass_needs_one_positive_weight() -> None:
    passes = [np.full((2, 2, 2), value, np.float32) for value in (0.2, 0.8)]
    assert combine(passes, [1.0, 3.0]).probability.item(0) == pytest.approx(0.65)
    for weights in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(InputError, match="Each pass needs its weight"):
            combine(passes, weights)
    for weights in ([1.0, -1.0], [0.0, 1.0], [float("nan"), 1.0]):
        with pytest.raises(InputError, match="positive number"):
            combine(passes, weights)
