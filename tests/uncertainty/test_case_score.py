from __future__ import annotations

import numpy as np
import pytest

from minivess.uncertainty import expected_errors_per_predicted_voxel, soft_dice_confidence


def test_by_hand() -> None:
    p = np.array([[[0.9, 0.6, 0.2, 0.0]]])
    assert expected_errors_per_predicted_voxel(p) == pytest.approx((0.1 + 0.4 + 0.2) / 2)
    assert expected_errors_per_predicted_voxel(p, threshold=0.1) == pytest.approx((0.1 + 0.4 + 0.8) / 3)


def test_a_sure_prediction_scores_zero_however_many_vessels() -> None:
    for share in (0.01, 0.5):
        p = (np.random.default_rng(0).random((20, 20, 20)) < share).astype(np.float32)
        assert expected_errors_per_predicted_voxel(p) == 0.0


def test_a_case_in_which_nothing_is_seen_comes_first() -> None:
    assert expected_errors_per_predicted_voxel(np.full((9, 9, 9), 0.01)) > 1.0


def test_soft_dice_confidence_by_hand() -> None:
    assert soft_dice_confidence(np.array([[[0.9, 0.6, 0.2]]])) == pytest.approx(2 * 1.5 / (1.7 + 2))
    assert soft_dice_confidence(np.zeros((2, 2, 2))) == 0.0
    assert soft_dice_confidence(np.ones((2, 2, 2))) == 1.0
