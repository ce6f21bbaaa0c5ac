from __future__ import annotations

import itertools

import numpy as np
import pytest
from geometries import resample_like
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from minivess.errors import InputError
from minivess.volume import Volume, reorient

CODES = ["".join(c) for axes in itertools.permutations(("RL", "AP", "SI")) for c in itertools.product(*axes)]


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Any volume: oblique, flipped, left-handed, anisotropic, with one-voxel axes."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    spacing = draw(st.tuples(*[st.sampled_from([0.6, 1.0, 5.0])] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    order = draw(st.permutations(range(3)))
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:, order] * signs * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-100, 100)] * 3))
    seed = draw(st.integers(0, 2**32 - 1))
    array = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int32)
    return Volume(array, affine, draw(st.sampled_from(["um", "mm"])))


def world(volume: Volume, value: int) -> np.ndarray:
    """Where in space the first voxel of a value is."""
    index = np.argwhere(volume.array == value)[0]
    return volume.affine @ [*index, 1]


@given(volumes(), st.sampled_from(CODES))
@settings(max_examples=150, deadline=None)
def test_reorient_and_back_is_exact(volume: Volume, codes: str) -> None:
    turned = reorient(volume, codes)
    back = reorient(turned, volume.axis_codes)
    assert np.array_equal(back.array, volume.array)
    assert np.allclose(back.affine, volume.affine, atol=1e-9)
    assert turned.axis_codes == codes


@pytest.mark.requirement("R01")
@given(volumes(), st.sampled_from(CODES))
@settings(max_examples=60, deadline=None)
def test_reorient_leaves_every_voxel_where_it_is(volume: Volume, codes: str) -> None:
    numbered = volume.with_array(np.arange(volume.array.size).reshape(volume.shape))
    turned = reorient(numbered, codes)
    for value in (0, volume.array.size - 1):
        assert np.allclose(world(turned, value), world(numbered, value), atol=1e-6)


@pytest.mark.requirement("R01")
@given(volumes(), st.sampled_from(CODES))
@settings(max_examples=100, deadline=None)
def test_a_label_goes_to_a_turned_grid_and_back_exactly(volume: Volume, codes: str) -> None:
    turned = reorient(volume, codes)
    there = resample_like(volume, turned)
    assert np.array_equal(there.array, turned.array)
    assert np.array_equal(resample_like(there, volume).array, volume.array)


@pytest.mark.parametrize("codes", ["RAR", "RA", "XYZ", ""])
def test_codes_that_name_no_orientation_are_refused(codes: str) -> None:
    with pytest.raises(InputError, match="Axis codes"):
        reorient(Volume(np.zeros((2, 2, 2)), np.eye(4), "mm"), codes)
