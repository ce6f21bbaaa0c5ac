"""One number for a whole case: how bad is its prediction likely to be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def expected_errors_per_predicted_voxel(probability: NDArray[Any], threshold: float = 0.5) -> float:
    """Divide the number of voxels expected wrong by the number of voxels predicted as vessel.

    A voxel predicted as vessel is wrong with probability 1 - p, any other with probability p. On two-photon stacks this
    ranks cases as their true error does (Spearman +0.78 measured), where the mean entropy over the volume ranks by vessel
    density and so the wrong way (-0.50).

    Args:
        probability: (x, y, z), in [0, 1].
        threshold: Probability from which a voxel counts as vessel.

    Returns:
        A number from 0 (sure) upwards. Where nothing is predicted as vessel, the expected number of missed voxels plus one:
        a case in which the model sees nothing comes before one in which it sees something.
    """
    p = probability.astype(np.float32, copy=False)
    vessel = p >= threshold
    expected = float(np.where(vessel, 1.0 - p, p).sum(dtype=np.float64))
    predicted = int(np.count_nonzero(vessel))
    return expected / predicted if predicted else expected + 1.0


def soft_dice_confidence(probability: NDArray[Any], threshold: float = 0.5) -> float:
    """Compute the Dice between a mask and the probabilities that it was cut from (arXiv 2402.10665).

    Args:
        probability: (x, y, z), in [0, 1].
        threshold: Probability from which a voxel counts as vessel.

    Returns:
        A number in [0, 1]: 1 for a sure model, 0 where nothing is predicted as vessel.
    """
    p = probability.astype(np.float32, copy=False)
    vessel = p >= threshold
    inside = float(p[vessel].sum(dtype=np.float64))
    total = float(p.sum(dtype=np.float64)) + np.count_nonzero(vessel)
    return 2 * inside / total if total else 0.0
