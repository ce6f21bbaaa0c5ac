"""From which probability on does a voxel count as vessel?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import BundleError

EXPECTED_DICE = "expected_dice"
#: Best thresholds for Dice lie at half the Dice that can be had: 0.5 for a sure model, 0.3 for a Dice of 0.6.
RANGE = (0.30, 0.50)


def choose_threshold(probability: NDArray[Any], rule: float | str) -> float:
    """Give the threshold of a volume: a fixed one, or the one at which the probabilities themselves expect the best Dice.

    Voxels of thin vessels seldom reach 0.5, so a mask cut there is too thin, and the more so the less a model is sure. The
    rule needs no label: the expected Dice at t is about 2 sum(p[p >= t]) / (count(p >= t) + sum(p)). Its best t never lies
    above 0.5 (Lipton et al. 2014, Optimal thresholding of classifiers to maximize F1 measure); where nothing reaches the
    lowest one, nothing is vessel.

    Args:
        probability: (x, y, z), in [0, 1].
        rule: A number in (0, 1), or ``"expected_dice"``.

    Raises:
        BundleError: When the rule is neither.
    """
    if rule != EXPECTED_DICE:
        return _fixed(rule)
    counts, sums = np.zeros(101), np.zeros(101)
    for plane in probability:
        level = (plane * np.float32(100.0)).astype(np.uint8).ravel()
        counts += np.bincount(level, minlength=101)
        sums += np.bincount(level, weights=plane.ravel(), minlength=101)
    above, inside = counts[::-1].cumsum()[::-1], sums[::-1].cumsum()[::-1]
    levels = np.arange(round(RANGE[0] * 100), round(RANGE[1] * 100) + 1)
    expected = 2 * inside[levels] / np.maximum(above[levels] + sums.sum(), 1e-9)
    return float(levels[expected.argmax()] / 100)


def _fixed(rule: float | str) -> float:
    try:
        threshold = float(rule)
    except ValueError:
        threshold = -1.0
    if not 0.0 < threshold < 1.0:
        raise BundleError(f"threshold is a number between 0 and 1, or {EXPECTED_DICE!r}. Got {rule!r}.")
    return threshold
