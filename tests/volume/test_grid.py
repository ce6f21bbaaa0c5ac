from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from minivess.errors import InputError
from minivess.volume import Volume, reorient, resample_like, resample_to_spacing

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
    there = resample_like(volume, turned, order=0)
    assert np.array_equal(there.array, turned.array)
    assert np.array_equal(resample_like(there, volume, order=0).array, volume.array)


@given(volumes(), st.tuples(*[st.sampled_from([0.3, 0.6, 2.0, 5.0])] * 3))
@settings(max_examples=80, deadline=None)
def test_resampling_keeps_the_field_of_view(volume: Volume, spacing: tuple[float, float, float]) -> None:
    result = resample_to_spacing(volume, spacing)
    for corner in itertools.product((0, 1), repeat=3):
        faces = [np.where(corner, v.shape, 0) - 0.5 for v in (volume, result)]
        old, new = (v.affine @ [*face, 1] for v, face in zip((volume, result), faces, strict=True))
        assert np.allclose(old, new, atol=1e-6)


def test_resampling_by_whole_factors_is_exact_for_labels() -> None:
    label = Volume((np.random.default_rng(0).random((8, 6, 4)) > 0.5).astype(np.uint8), np.diag([0.6, 0.6, 5.0, 1]), "um")
    fine = resample_to_spacing(label, (0.3, 0.2, 1.0), order=0)
    assert fine.shape == (16, 18, 20)
    assert np.array_equal(resample_like(fine, label, order=0).array, label.array)


def test_a_linear_ramp_survives_resampling() -> None:
    x = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, 5, 5), np.float32)
    volume = Volume(x, np.diag([1.0, 1, 1, 1]), "mm")
    back = resample_like(resample_to_spacing(volume, (0.5, 1, 1)), volume)
    assert np.abs(back.array[1:-1] - x[1:-1]).max() < 1e-4


@pytest.mark.parametrize("codes", ["RAR", "RA", "XYZ", ""])
def test_codes_that_name_no_orientation_are_refused(codes: str) -> None:
    with pytest.raises(InputError, match="Axis codes"):
        reorient(Volume(np.zeros((2, 2, 2)), np.eye(4), "mm"), codes)


def test_a_spacing_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="three positive numbers"):
        resample_to_spacing(Volume(np.zeros((2, 2, 2)), np.eye(4), "mm"), (1, 0, 1))
