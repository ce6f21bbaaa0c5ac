"""CT has numbers with a meaning: the same window for every scan, and a clear refusal where they were lost."""

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.models import MODALITIES
from minivess.models.normalise import HounsfieldWindow, fit_scaling
from minivess.synth import make_sample


@pytest.fixture(scope="module")
def scan() -> tuple[np.ndarray, np.ndarray]:
    sample = make_sample("cta", 3, shape=(64, 64, 48))
    return sample.image.array, sample.mask.array > 0


def test_vessels_are_far_from_tissue_whatever_else_is_in_the_scan(scan: tuple[np.ndarray, np.ndarray]) -> None:
    hounsfield, vessel = scan
    more_air = np.pad(hounsfield, 60, constant_values=-1000)
    for array in (hounsfield, hounsfield.astype(np.float32), more_air):
        scaled = fit_scaling(array, "ct_angiography").apply(hounsfield)
        tissue = scaled[(hounsfield > 0) & (hounsfield < 80)]
        assert np.median(scaled[vessel]) > np.median(tissue) + 0.2
        assert scaled.min() >= 0.0
        assert scaled.max() <= 1.5


def test_the_scaling_is_the_same_for_every_scan(scan: tuple[np.ndarray, np.ndarray]) -> None:
    rule = MODALITIES["ct_angiography"]
    assert isinstance(rule, HounsfieldWindow)
    for array in (scan[0], scan[0] // 2, np.full((4, 4, 4), 35, np.int16), np.zeros((4, 4, 4), np.int16)):
        scaled = fit_scaling(array, "ct_angiography").apply(np.array([rule.low_hu, rule.high_hu, 3000.0]).reshape(1, 1, 3))
        np.testing.assert_allclose(scaled.ravel(), [0.0, 1.0, 1.5], atol=1e-6)


@pytest.mark.parametrize("change", ["without its intercept", "from 0 to 1", "as z-scores"])
def test_a_ct_without_hounsfield_units_is_refused(change: str, scan: tuple[np.ndarray, np.ndarray]) -> None:
    hounsfield = scan[0].astype(np.float32)
    changed = {
        "without its intercept": hounsfield + 1024.0,
        "from 0 to 1": (hounsfield + 1024.0) / 4095.0,
        "as z-scores": (hounsfield - hounsfield.mean()) / hounsfield.std(),
    }[change]
    with pytest.raises(InputError, match=r"not in Hounsfield units.*rescale slope"):
        fit_scaling(changed, "ct_angiography")
