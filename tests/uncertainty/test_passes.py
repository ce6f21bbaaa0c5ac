from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from minivess.errors import InputError
from minivess.models import BundleSegmenter, load_bundle
from minivess.models.segmenter import Capabilities, ModelRef
from minivess.synth import make_sample
from minivess.uncertainty import combine, expected_error, predict_mc_dropout, predict_members, predict_tta
from minivess.volume import Volume


@pytest.fixture(scope="module")
def stack() -> Volume:
    return make_sample("capillary", 3, shape=(48, 40, 10)).image


@pytest.fixture(scope="module")
def segmenter(bundle: Path) -> BundleSegmenter:
    return load_bundle(bundle, device="cpu")


def test_combine__mutual_information_by_hand() -> None:
    one, other = np.full((1, 1, 1), 0.2, np.float32), np.full((1, 1, 1), 0.8, np.float32)
    combined = combine([one, other])
    within = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    assert combined.probability.item() == pytest.approx(0.5)
    assert combined.entropy.item() == pytest.approx(np.log(2))
    assert combined.mutual_information.item() == pytest.approx(np.log(2) - within, abs=1e-6)


def test_combine__equal_passes_have_no_mutual_information() -> None:
    p = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    combined = combine([p, p, p])
    np.testing.assert_allclose(combined.probability, p, atol=1e-6)
    assert combined.mutual_information.max() < 1e-5
    assert combined.passes == 3


def test_expected_error__by_hand() -> None:
    np.testing.assert_allclose(expected_error(np.array([0.1, 0.4, 0.9], np.float32), 0.4), [0.1, 0.6, 0.1], rtol=1e-6)


def test_predict_tta__views_are_mirrored_back(segmenter: BundleSegmenter, stack: Volume) -> None:
    views = list(predict_tta(segmenter, stack, passes=4))
    np.testing.assert_array_equal(views[0], segmenter.predict(stack).probability.array)
    for view in views[1:]:
        assert np.corrcoef(view.ravel(), views[0].ravel())[0, 1] > 0.8


def test_predict_members__mean_of_equal_models_is_one_model(segmenter: BundleSegmenter, stack: Volume) -> None:
    combined = combine(predict_members([segmenter, segmenter], stack))
    np.testing.assert_allclose(combined.probability, segmenter.predict(stack).probability.array, atol=1e-6)


def test_predict_mc_dropout__passes_differ_and_dropout_is_off_afterwards(stack: Volume) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.Dropout3d(0.5), torch.nn.Conv3d(8, 1, 1))
    segmenter = BundleSegmenter(
        network,
        SlidingWindowInferer(roi_size=(32, 32, 8)),
        capabilities=Capabilities(frozenset(), ("vessel",), "two_photon"),
        model=ModelRef("dropped", "0", ""),
        threshold=0.5,
        device=torch.device("cpu"),
    )
    state = torch.random.get_rng_state()
    first, second = predict_mc_dropout(segmenter, stack, passes=2)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(first, next(iter(predict_mc_dropout(segmenter, stack, passes=1))))
    np.testing.assert_array_equal(segmenter.predict(stack).probability.array, segmenter.predict(stack).probability.array)
    assert torch.equal(state, torch.random.get_rng_state())


def test_predict_mc_dropout__refuses_a_network_without_dropout(segmenter: BundleSegmenter, stack: Volume) -> None:
    with pytest.raises(InputError, match="no dropout"):
        list(predict_mc_dropout(segmenter, stack))


def test_combine__refuses_no_pass_and_different_grids(segmenter: BundleSegmenter, stack: Volume) -> None:
    with pytest.raises(InputError, match="no pass"):
        combine([])
    with pytest.raises(InputError, match="one grid"):
        combine([np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 3), np.float32)])
    with pytest.raises(InputError, match="8 mirrored views"):
        list(predict_tta(segmenter, stack, passes=9))
