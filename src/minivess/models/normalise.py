"""Scale intensities so that one network sees stacks of any microscope or scanner alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError

#: Percentiles of large volumes are taken from about this many voxels, on a regular grid: the same ones each time.
_SAMPLED_VOXELS = 4_000_000


@dataclass(frozen=True)
class Modality:
    """How intensities of one kind of image are scaled.

    Attributes:
        low_percentile: Maps to 0.
        high_percentile: Maps to 1; brighter voxels are kept up to ``ceiling``.
        power: Exponent after scaling; below 1 it lifts dim vessels, whose brightness differs by decades in microscopy.
        ignore_zero: Leave exact zeros out of the percentiles, for volumes whose background was set to zero.
        ceiling: Largest value after scaling, before the power.
    """

    low_percentile: float
    high_percentile: float
    power: float = 1.0
    ignore_zero: bool = False
    ceiling: float = 1.5


MODALITIES: dict[str, Modality] = {
    "two_photon": Modality(low_percentile=1.0, high_percentile=99.8, power=0.5),
    "light_sheet": Modality(low_percentile=1.0, high_percentile=99.8, power=0.5),
    "mr_angiography": Modality(low_percentile=1.0, high_percentile=99.9, ignore_zero=True),
    "ct_angiography": Modality(low_percentile=5.0, high_percentile=99.9, ignore_zero=True),
}


@dataclass(frozen=True)
class Scaling:
    """A modality's rule with the numbers of one volume: the same for each part of it."""

    low: float
    high: float
    power: float
    ceiling: float

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale intensities to about [0, 1], float32, any shape."""
        scaled = (array.astype(np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        np.clip(scaled, 0.0, self.ceiling, out=scaled)
        return np.power(scaled, np.float32(self.power), out=scaled) if self.power != 1.0 else scaled


def fit_scaling(array: NDArray[Any], modality: str) -> Scaling:
    """Measure a volume's intensities.

    Args:
        array: (x, y, z), any real dtype.
        modality: Key of :data:`MODALITIES`.

    Returns:
        How to scale it. A constant volume scales to 0.

    Raises:
        InputError: When the modality is unknown.
    """
    if modality not in MODALITIES:
        raise InputError(f"Unknown modality {modality!r}. Allowed: {', '.join(MODALITIES)}.")
    rule = MODALITIES[modality]
    stride = max(1, round((array.size / _SAMPLED_VOXELS) ** 0.5))
    values = array[::stride, ::stride].ravel()
    if rule.ignore_zero and values.any():
        values = values[values != 0]
    low, high = (float(v) for v in np.percentile(values, (rule.low_percentile, rule.high_percentile)))
    if high <= low:  # nearly all voxels alike: fall back on the range, and on 1 for a constant volume
        low, high = float(array.min()), float(array.max())
    return Scaling(low, high if high > low else low + 1.0, rule.power, rule.ceiling)
