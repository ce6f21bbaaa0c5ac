"""The threshold that a volume is cut at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivess.errors import BundleError
from minivess.metrics import dsc
from minivess.models.threshold import EXPECTED_DICE, choose_threshold
from minivess.models.transforms import AsMaskd


@given(seed=st.integers(0, 2**32 - 1), a=st.floats(0.2, 3.0), b=st.floats(0.5, 8.0))
def test_it_is_the_best_of_its_range_by_the_volumes_own_probabilities(seed: int, a: float, b: float) -> None:
    p = np.random.default_rng(seed).beta(a, b, (7, 6, 5)).astype(np.float32)

    def expected(t: float) -> float:
        inside = p >= np.float32(t)
        return 2 * p[inside].sum(dtype=np.float64) / max(inside.sum() + p.sum(dtype=np.float64), 1e-9)

    t = choose_threshold(p, EXPECTED_DICE)
    assert 0.3 <= t <= 0.5
    assert expected(t) >= max(expected(k / 100) for k in range(30, 51)) - 1e-3


def test_where_the_probabilities_are_true_it_beats_one_half() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 1.5, (64, 64, 16)).astype(np.float32)
    truth = rng.random(p.shape) < p
    assert dsc(truth, p >= choose_threshold(p, EXPECTED_DICE)) > dsc(truth, p >= 0.5)


def test_a_volume_without_vessels_stays_empty() -> None:
    p = np.full((4, 4, 4), 0.29, np.float32)
    assert not (p >= choose_threshold(p, EXPECTED_DICE)).any()


@pytest.mark.parametrize("rule", ["best", 0.0, 1.0, -1, "1e9"])
def test_a_rule_that_is_none_is_refused(rule: float | str) -> None:
    with pytest.raises(BundleError, match="expected_dice"):
        choose_threshold(np.zeros((2, 2, 2), np.float32), rule)


def test_the_transform_of_the_stock_workflow_cuts_where_the_segmenter_does() -> None:
    import torch

    p = np.random.default_rng(1).beta(0.4, 2.0, (9, 8, 7)).astype(np.float32)
    for rule in (0.4, EXPECTED_DICE):
        mask = AsMaskd(["pred"], rule)({"pred": torch.from_numpy(p)[None]})["pred"][0].numpy()
        assert np.array_equal(mask > 0, p >= choose_threshold(p, rule))
