"""Choose the probability from which a voxel counts as vessel, and cut the mask there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import BundleError

EXPECTED_DICE = "expected_dice"
#: The best threshold for Dice is half of the Dice that can be reached: 0.5 for a certain model, 0.3 for a Dice of 0.6.
RANGE = (0.30, 0.50)


def choose_threshold(probability: NDArray[Any], rule: float | str) -> float:
    """Return the threshold of a volume: a fixed one, or the one with the highest expected Dice.

    Voxels of thin vessels seldom reach 0.5, so a mask with that threshold is too thin, and more so for a less certain model.
    The rule needs no label: the expected Dice at t is about 2 sum(p[p >= t]) / (count(p >= t) + sum(p)). Its best t is never
    above 0.5 (Lipton et al. 2014, Optimal thresholding of classifiers to maximize F1 measure). Where no voxel reaches the
    lowest threshold, the mask is empty.

    Args:
        probability: (x, y, z) float, in [0, 1].
        rule: A number in (0, 1), or ``"expected_dice"``.

    Returns:
        A probability in (0, 1).

    Raises:
        BundleError: When the rule is neither.

    Example:
        >>> choose_threshold(np.full((1, 1, 4), 0.9, np.float32), 0.4)
        0.4
    """
    fixed = check_threshold(rule)
    if fixed is not None:
        return fixed
    counts, sums = np.zeros(101), np.zeros(101)
    for plane in probability:
        level = (plane * np.float32(100.0)).astype(np.uint8).ravel()
        counts += np.bincount(level, minlength=101)
        sums += np.bincount(level, weights=plane.ravel(), minlength=101)
    above, inside = counts[::-1].cumsum()[::-1], sums[::-1].cumsum()[::-1]
    levels = np.arange(round(RANGE[0] * 100), round(RANGE[1] * 100) + 1)
    expected = 2 * inside[levels] / np.maximum(above[levels] + sums.sum(), 1e-9)
    return float(levels[expected.argmax()] / 100)


def apply_threshold(probability: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Return which voxels are vessel: those that reach the threshold.

    Args:
        probability: Any shape, float in [0, 1]; half precision is compared in single precision.
        threshold: Lowest probability that counts as vessel.

    Returns:
        The same shape, bool.
    """
    return np.asarray(probability.astype(np.float32, copy=False) >= np.float32(threshold))


def check_threshold(rule: Any) -> float | None:
    """Check the ``threshold`` of a bundle.

    Args:
        rule: A number in (0, 1), or ``"expected_dice"``.

    Returns:
        The number; None for the rule that depends on the volume.

    Raises:
        BundleError: When the rule is neither.
    """
    if rule == EXPECTED_DICE:
        return None
    try:
        threshold = float(rule)
    except (TypeError, ValueError):
        threshold = -1.0
    if not 0.0 < threshold < 1.0:
        raise BundleError(f"threshold is {rule!r}. Allowed: a number between 0 and 1, or {EXPECTED_DICE!r}.")
    return threshold
