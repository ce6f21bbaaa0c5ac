"""Temperature scaling: one number that makes probabilities mean what they say (Guo et al., ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from minivess.errors import InputError

#: Logits are counted in steps of 1/16 between -16 and 16: a volume of any size is kept as 8 kB.
_EDGES = np.linspace(-16, 16, 513)
_CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2
_RANGE = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class LogitCounts:
    """How often each logit was given to background and to vessel, in one or more volumes.

    Attributes:
        counts: (2, 512) float64; each volume adds up to 1, so that a large one counts no more than a small one.
    """

    counts: NDArray[np.float64]

    def __add__(self, other: LogitCounts) -> LogitCounts:
        """Take two together."""
        return LogitCounts(self.counts + other.counts)


def count_logits(probability: NDArray[Any], reference: NDArray[np.bool_]) -> LogitCounts:
    """Count a held-out volume.

    Args:
        probability: (x, y, z) in [0, 1].
        reference: The true mask on the same grid.
    """
    counts = np.zeros((2, len(_CENTRES)))
    for plane, truth in zip(probability, reference, strict=True):
        p = np.clip(plane.astype(np.float64), 1e-7, 1 - 1e-7)
        bins = np.clip(np.searchsorted(_EDGES, np.log(p / (1 - p))) - 1, 0, len(_CENTRES) - 1)
        for value in (0, 1):
            counts[value] += np.bincount(bins[truth == value], minlength=len(_CENTRES))
    return LogitCounts(counts / counts.sum())


def fit_temperature(counted: LogitCounts) -> float:
    """Find the temperature whose probabilities are most likely: above 1 where the model is too sure, below 1 where not enough.

    Raises:
        InputError: When the volumes hold no vessel, or nothing else.
    """
    if not counted.counts.sum(axis=1).all():
        raise InputError("A temperature needs volumes that hold both vessel and background.")

    def loss(log_temperature: float) -> float:
        scaled = _CENTRES / np.exp(log_temperature)
        return float(counted.counts[1] @ np.logaddexp(0, -scaled) + counted.counts[0] @ np.logaddexp(0, scaled))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded").x))


def apply_temperature(probability: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Divide the logits by a temperature; float32 of the same shape. The order of the voxels stays."""
    if not temperature > 0:
        raise InputError(f"A temperature is positive. Got {temperature}.")
    p = np.clip(probability, np.float32(1e-7), np.float32(1 - 1e-7))
    odds = (p / (1 - p)) ** np.float32(1 / temperature)
    return (odds / (1 + odds)).astype(np.float32, copy=False)
