from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.uncertainty import apply_temperature, count_logits, fit_temperature, soft_dice_confidence


def too_sure(temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from honest probabilities, and a model whose logits are larger by a factor."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, (40, 40, 20))
    truth = rng.random(logit.shape) < 1 / (1 + np.exp(-logit))
    return (1 / (1 + np.exp(-logit * temperature))).astype(np.float32), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature: float) -> None:
    counted = count_logits(*too_sure(temperature, 1)) + count_logits(*too_sure(temperature, 2))
    assert fit_temperature(counted) == pytest.approx(temperature, rel=0.1)


def test_applied_it_makes_probabilities_honest_and_keeps_their_order() -> None:
    p, truth = too_sure(3.0)
    cool = apply_temperature(p, fit_temperature(count_logits(p, truth)))
    high = cool > 0.8
    assert truth[high].mean() == pytest.approx(cool[high].mean(), abs=0.03)
    assert abs(truth[p > 0.8].mean() - p[p > 0.8].mean()) > 0.05
    assert (np.diff(cool.ravel()[np.argsort(p.ravel())]) >= 0).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    p = np.full((3, 3, 3), 0.2, np.float32)
    with pytest.raises(InputError, match="both vessel and background"):
        fit_temperature(count_logits(p, np.zeros(p.shape, bool)))
    with pytest.raises(InputError, match="positive"):
        apply_temperature(p, 0.0)


def test_soft_dice_confidence_by_hand() -> None:
    assert soft_dice_confidence(np.array([[[0.9, 0.6, 0.2]]])) == pytest.approx(2 * 1.5 / (1.7 + 2))
    assert soft_dice_confidence(np.zeros((2, 2, 2))) == 0.0
    assert soft_dice_confidence(np.ones((2, 2, 2))) == 1.0
