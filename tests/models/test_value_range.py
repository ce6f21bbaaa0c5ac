"""Intensities from 0 to 1 for networks that expect them."""

from __future__ import annotations

import pytest
import torch

from minivess.errors import BundleError
from minivess.models.value_range import check_range, to_unit_range
from minivess.models.vessap import VessapFcn


def test_intensities_are_scaled_and_clipped() -> None:
    scaled = to_unit_range(torch.tensor([-9.0, -0.5, 1.75, 4.0, 9.0]), check_range([-0.5, 4]))
    assert scaled.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("wrong", [[0], [4.0, -0.5], [1, 1], "ab", None, [0, "x"]])
def test_a_wrong_range_is_refused_when_the_network_is_built(wrong: object) -> None:
    with pytest.raises(BundleError, match="two numbers, the lower one first"):
        VessapFcn(value_range=wrong)
