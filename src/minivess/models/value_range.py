"""Scale normalised intensities for networks whose weights expect values from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from minivess.errors import BundleError

#: Local contrast that becomes 0 and 1: nearly all of a two-photon stack lies between.
USUAL_RANGE = (-0.5, 4.0)


def check_range(value_range: Sequence[float]) -> tuple[float, float]:
    """Return the two values of a configuration as numbers.

    Raises:
        BundleError: When they are no two numbers, or the first one is not the lower one.
    """
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not low < high:
        raise BundleError(f"value_range is {value_range!r}. Allowed: two numbers, the lower one first, as [-0.5, 4.0].")
    return low, high


def to_unit_range(x: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """Scale intensities linearly to 0 to 1, without any rounding; what lies beyond is clipped.

    Args:
        x: Float tensor of any shape, normalised intensities.
        value_range: Intensities that become 0 and 1.
    """
    low, high = value_range
    return ((x - low) / (high - low)).clamp(0, 1)
