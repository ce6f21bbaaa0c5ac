from __future__ import annotations

import itertools

import numpy as np
import pytest

from minivess.volume import Box, Volume, reorient
from minivess.volume.canonical import CanonicalView, canonical_codes


def every_order() -> list[str]:
    return ["".join(codes) for pairs in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*pairs)]


def volume(spacing: tuple[float, float, float]) -> Volume:
    tilt = np.deg2rad(10)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(spacing), (4, -3, 8)
    return Volume(np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7), affine, "um")


@pytest.mark.requirement("R01")
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (1.0, 5.0, 1.0), (5.0, 1.0, 1.0), (1.0, 1.0, 1.1)])
def test_all_48_orders_of_one_volume_have_one_canonical_order(spacing: tuple[float, float, float]) -> None:
    first = CanonicalView.of(volume(spacing)).volume
    assert first.spacing[2] == pytest.approx(max(spacing))
    for codes in every_order():
        source = reorient(volume(spacing), codes)
        view = CanonicalView.of(source)
        assert view.volume.same_grid(first)
        assert np.array_equal(view.volume.array, first.array)
        assert np.array_equal(view.back(view.volume.array), source.array)
        voxel, box = (1, 2, 3), Box(1, 3, 0, 2, 2, 5)
        assert source.array[voxel] == view.volume.array[view.voxel(voxel)]
        assert sorted(source.array[box.slices].ravel()) == sorted(view.volume.array[view.box(box).slices].ravel())


def test_a_stack_of_a_microscope_is_not_copied() -> None:
    stack = Volume(np.zeros((4, 4, 3), np.uint8), np.diag([1.0, 1.0, 5.0, 1.0]), "um")
    assert canonical_codes(stack) == "RAS"
    assert CanonicalView.of(stack).volume is stack
