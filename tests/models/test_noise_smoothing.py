"""Noisy slices are smoothed before the network sees them, clean ones are not; a part is scaled as it is in the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minivess.models.normalise import fit_scaling
from minivess.models.transforms import NormaliseIntensityd
from minivess.synth import make_sample


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """A stack whose vessels have soft edges, as a microscope shows them, (x, y, z) float32."""
    array = make_sample("capillary", 0, shape=(96, 80, 8)).mask.array.astype(np.float32)
    for axis in (0, 1):
        for _ in range(3):
            array = (np.roll(array, 1, axis) + 2 * array + np.roll(array, -1, axis)) / 4
    return 100 + 900 * array


def noisy(clean: np.ndarray, width: float) -> np.ndarray:
    return clean + np.random.default_rng(0).normal(0, width, clean.shape).astype(np.float32)


def test_the_smoothing_grows_with_the_noise_and_ends(clean: np.ndarray) -> None:
    assert not fit_scaling(clean, "two_photon").smoothing.any()
    widths = [float(fit_scaling(noisy(clean, width), "two_photon").smoothing.mean()) for width in (30, 100, 300, 3000)]
    assert widths == sorted(widths)
    assert widths[0] > 0
    assert widths[-1] == 1.5
    assert fit_scaling(clean, "mr_angiography").smoothing is None


def test_each_slice_is_smoothed_by_its_own_noise(clean: np.ndarray) -> None:
    array = clean.copy()
    array[:, :, 3] = noisy(clean, 200)[:, :, 3]
    smoothing = fit_scaling(array, "two_photon").smoothing
    assert smoothing[3] > 0.5
    assert not np.delete(smoothing, 3).any()
    before, after = fit_scaling(array, "two_photon"), fit_scaling(clean, "two_photon").apply(clean)[:, :, 3]
    with_noise = NormaliseIntensityd(["image"], "two_photon", smooth_noise=False)({"image": torch.from_numpy(array)[None]})[
        "image"
    ][0]
    error = [np.abs(np.asarray(scaled)[:, :, 3] - after).mean() for scaled in (before.apply(array), with_noise)]
    assert error[0] < 0.7 * error[1]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_a_part_is_scaled_as_in_the_whole(clean: np.ndarray, dtype: type) -> None:
    array = noisy(clean, 150).clip(0).astype(dtype)
    scaling = fit_scaling(array, "two_photon")
    whole = scaling.apply(array)
    for part in (
        (slice(20, 50), slice(None), slice(None)),
        (slice(None), slice(7, 9), slice(2, 5)),
        (slice(0, 3), slice(70, 80), slice(7, 8)),
    ):
        np.testing.assert_allclose(scaling.apply_part(array, part), whole[part], atol=1e-5)
    box = (slice(10, 70), slice(5, 60), slice(1, 7))
    inner = scaling.apply_part(array[box], (slice(20, 40), slice(20, 30), slice(None)), at=(10, 5, 1))
    np.testing.assert_allclose(inner, whole[30:50, 25:35, 1:7], atol=1e-5)


def test_a_constant_and_a_tiny_slice_are_left_alone() -> None:
    for shape in ((40, 40, 3), (2, 30, 3), (30, 1, 1)):
        scaled = fit_scaling(np.full(shape, 7, np.uint8), "two_photon")
        assert not scaled.smoothing.any()
        assert np.isfinite(scaled.apply(np.full(shape, 7, np.uint8))).all()
