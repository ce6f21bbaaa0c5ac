from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.models import binary_entropy
from minivess.uncertainty.acquisition import Strategy, choose, patch_scores

PATCH = (4, 4, 2)


def probabilities(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).beta(0.4, 1.6, (17, 12, 5)).astype(np.float32)


def test_scores_of_patches_are_what_a_loop_gives() -> None:
    p = probabilities()
    scores = patch_scores(p, PATCH, threshold=0.4)
    assert scores.shape == (4, 3, 2, 4)
    for x, y, z in np.ndindex(4, 3, 2):
        part = p[x * 4 : x * 4 + 4, y * 4 : y * 4 + 4, z * 2 : z * 2 + 2]
        vessel = part >= 0.4
        entropy = binary_entropy(part)
        expected = [
            vessel.mean(),
            np.minimum(part, 1 - part).sum() / max(vessel.sum(), 1),
            entropy[vessel].mean() if vessel.any() else 0,
            entropy[~vessel].mean() if (~vessel).any() else 0,
        ]
        np.testing.assert_allclose(scores[x, y, z], expected, rtol=1e-4)


@pytest.mark.parametrize("strategy", ["random", "foreground", "errors", "power"])
def test_everything_is_chosen_once_and_nothing_that_is_taken(strategy: Strategy) -> None:
    rows = patch_scores(probabilities(), PATCH).reshape(-1, 4)
    chosen = choose(rows, strategy, 100, np.random.default_rng(1), taken=[0, 5])
    assert sorted([0, 5, *chosen]) == list(range(len(rows)))
    again = choose(rows, strategy, 100, np.random.default_rng(1), taken=[0, 5])
    assert chosen == again


def test_each_strategy_looks_where_it_says() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.01, 0.1, (200, 4))
    rows[:20, 0] = 0.9  # full of vessel
    rows[20:40, 1] = 3.0  # wrong
    rows[40:60, 2] = 0.6  # unsure of its vessels
    share = {
        name: np.isin(choose(rows, name, 20, np.random.default_rng(2), sharpness=9.0), np.arange(start, start + 20)).mean()
        for name, start in (("foreground", 0), ("errors", 20), ("power", 40))
    }
    assert share["errors"] == 1.0
    assert share["foreground"] > 0.3
    assert share["power"] > 0.3
    assert np.isin(choose(rows, "random", 20, np.random.default_rng(2)), np.arange(20)).mean() < 0.3


def test_one_image_is_drawn_by_its_vessels_two_times_in_three() -> None:
    rows = np.array([[0.3, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.1]])
    rng = np.random.default_rng(0)
    share = np.mean([choose(rows, "foreground", 1, rng) == [0] for _ in range(600)])
    assert 0.77 < share < 0.9  # 2/3 + 1/3 * 1/2


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        patch_scores(probabilities(), (40, 4, 2))
    with pytest.raises(InputError, match="Allowed: random, foreground"):
        choose(np.ones((3, 4)), "best", 1, np.random.default_rng(0))  # type: ignore[arg-type]
