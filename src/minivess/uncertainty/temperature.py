"""Temperature scaling: calibrate probabilities with one number (Guo et al., ICML 2017).

A library function. Prediction applies no temperature: fitted on shifted synthetic stacks it leads to no better mask
(`docs/evidence/two_photon.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from minivess.errors import InputError

#: Logits are counted in steps of 1/16 between -16 and 16, so the counts of any volume take 8 kB.
_EDGES = np.linspace(-16, 16, 513)
_CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2
_RANGE = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class LogitCounts:
    """Histogram of the logits of background and of vessel, in one or more volumes.

    Attributes:
        counts: (2, 512) float64, background and vessel; each volume has the sum 1, so that all volumes count equally.
    """

    counts: NDArray[np.float64]

    def __add__(self, other: LogitCounts) -> LogitCounts:
        """Return the histogram of both."""
        return LogitCounts(self.counts + other.counts)


def count_logits(probability: NDArray[Any], reference: NDArray[np.bool_]) -> LogitCounts:
    """Count the logits of a held-out volume.

    Args:
        probability: (x, y, z) float in [0, 1].
        reference: (x, y, z) bool, the true mask on the same grid.
    """
    counts = np.zeros((2, len(_CENTRES)))
    for plane, truth in zip(probability, reference, strict=True):
        p = np.clip(plane.astype(np.float64), 1e-7, 1 - 1e-7)
        bins = np.clip(np.searchsorted(_EDGES, logit(p)) - 1, 0, len(_CENTRES) - 1)
        for value in (0, 1):
            counts[value] += np.bincount(bins[truth == value], minlength=len(_CENTRES))
    return LogitCounts(counts / counts.sum())


def fit_temperature(counted: LogitCounts) -> float:
    """Return the temperature with the highest likelihood: above 1 for an overconfident model, below 1 for an underconfident one.

    Raises:
        InputError: When the volumes contain no vessel, or no background.
    """
    if not counted.counts.sum(axis=1).all():
        raise InputError("A temperature needs volumes that contain both vessel and background. Add further volumes.")

    def loss(log_temperature: float) -> float:
        scaled = _CENTRES / np.exp(log_temperature)
        return float(counted.counts[1] @ np.logaddexp(0, -scaled) + counted.counts[0] @ np.logaddexp(0, scaled))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded").x))


def apply_temperature(probability: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Divide the logits by a temperature. The order of the voxels does not change.

    Args:
        probability: Any shape, float32 in [0, 1].
        temperature: A positive number, as from :func:`fit_temperature`.

    Returns:
        The same shape, float32 in [0, 1].

    Raises:
        InputError: When the temperature is not positive.
    """
    if not temperature > 0:
        raise InputError(f"The temperature must be positive. Got {temperature}.")
    p = np.clip(probability, np.float32(1e-7), np.float32(1 - 1e-7))
    return np.asarray(expit(logit(p) / np.float32(temperature)))
