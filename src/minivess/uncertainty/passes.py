"""Combine several predictions of a volume, as of an ensemble's members."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.models import binary_entropy


@dataclass(frozen=True, eq=False)
class VoxelUncertainty:
    """Uncertainty of each voxel over several passes; arrays are (x, y, z) float32 on the grid of the volume.

    Attributes:
        probability: Mean over the passes, in [0, 1].
        entropy: Entropy of that mean, in nats, in [0, ln 2]: total uncertainty.
        mutual_information: Entropy of the mean minus the mean entropy, in nats, in [0, ln 2]: disagreement of the passes.
        passes: Number of passes.
    """

    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    passes: int


def combine(probabilities: Iterable[NDArray[np.float32]], weights: Iterable[float] | None = None) -> VoxelUncertainty:
    """Combine passes one after the other; two volumes are in memory, however many passes there are.

    Args:
        probabilities: Passes over one volume, (x, y, z) float32 in [0, 1] each.
        weights: A positive weight of each pass; equal ones by default.

    Raises:
        InputError: When there is no pass, their shapes differ, or there is not one positive weight for each.
    """
    mean: NDArray[np.float32] | None = None
    within: NDArray[np.float32] | None = None
    count, total = 0, 0.0
    for p, weight in _weighted(probabilities, weights):
        if mean is None or within is None:
            mean, within = np.zeros(p.shape, np.float32), np.zeros(p.shape, np.float32)
        elif p.shape != mean.shape:
            raise InputError(f"All passes must be on one grid. Got shapes {mean.shape} and {p.shape}.")
        mean += np.float32(weight) * p
        within += np.float32(weight) * binary_entropy(p)
        count, total = count + 1, total + weight
    if mean is None or within is None:
        raise InputError("There is no pass to combine. Predict the volume at least once.")
    mean /= np.float32(total)
    within /= np.float32(total)
    entropy = binary_entropy(mean)
    return VoxelUncertainty(mean, entropy, np.maximum(entropy - within, 0), count)


def _weighted(
    probabilities: Iterable[NDArray[np.float32]], weights: Iterable[float] | None
) -> Iterator[tuple[NDArray[np.float32], float]]:
    if weights is None:
        yield from ((p, 1.0) for p in probabilities)
        return
    stated = list(weights)
    if not all(math.isfinite(weight) and weight > 0 for weight in stated):
        raise InputError(f"The weight of a pass is a positive number. Got {', '.join(f'{weight:g}' for weight in stated)}.")
    count = 0
    for count, p in enumerate(probabilities, start=1):
        if count > len(stated):
            break
        yield p, stated[count - 1]
    if count != len(stated):
        raise InputError(f"Each pass needs its weight. Got {len(stated)} weights for another number of passes.")
