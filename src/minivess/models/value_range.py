"""Scale normalised intensities for networks whose weights expect values from 0 to 1."""

from __future__ import annotations

import torch

#: Local contrast that becomes 0 and 1: nearly all of a two-photon stack lies between.
USUAL_RANGE = (-0.5, 4.0)


def to_unit_range(x: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """Scale intensities linearly to 0 to 1, without any rounding; what lies beyond is clipped.

    Args:
        x: Float tensor of any shape, normalised intensities.
        value_range: Intensities that become 0 and 1.
    """
    low, high = value_range
    return ((x - float(low)) / (float(high) - float(low))).clamp(0, 1)
