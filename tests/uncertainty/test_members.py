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
from minivess.uncertainty import ask_members, ask_mirrored, ask_with_dropout, combine, expected_error
from minivess.volume import Volume


@pytest.fixture(scope="module")
def stack() -> Volume:
    return make_sample("capillary", 3, shape=(48, 40, 10)).image


@pytest.fixture(scope="module")
def segmenter(bundle: Path) -> BundleSegmenter:
    return load_bundle(bundle, device="cpu")


def test_mutual_information_by_hand() -> None:
    one, other = np.full((1, 1, 1), 0.2, np.float32), np.full((1, 1, 1), 0.8, np.float32)
    found = combine([one, other])
    within = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    assert found.probability.item() == pytest.approx(0.5)
    assert found.entropy.item() == pytest.approx(np.log(2))
    assert found.mutual_information.item() == pytest.approx(np.log(2) - within, abs=1e-6)


def test_answers_that_agree_share_no_information() -> None:
    p = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    found = combine([p, p, p])
    np.testing.assert_allclose(found.probability, p, atol=1e-6)
    assert found.mutual_information.max() < 1e-5
    assert found.answers == 3


def test_expected_error_of_a_cut() -> None:
    np.testing.assert_allclose(expected_error(np.array([0.1, 0.4, 0.9], np.float32), 0.4), [0.1, 0.6, 0.1], rtol=1e-6)


def test_mirrored_views_are_turned_back(segmenter: BundleSegmenter, stack: Volume) -> None:
    views = list(ask_mirrored(segmenter, stack, answers=4))
    np.testing.assert_array_equal(views[0], segmenter.predict(stack).probability.array)
    for view in views[1:]:
        assert np.corrcoef(view.ravel(), views[0].ravel())[0, 1] > 0.8


def test_a_deep_ensemble_is_asked_one_by_one(segmenter: BundleSegmenter, stack: Volume) -> None:
    found = combine(ask_members([segmenter, segmenter], stack))
    np.testing.assert_allclose(found.probability, segmenter.predict(stack).probability.array, atol=1e-6)


def test_dropout_gives_other_answers_and_is_off_afterwards(stack: Volume) -> None:
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
    first, second = ask_with_dropout(segmenter, stack, answers=2)
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(first, next(iter(ask_with_dropout(segmenter, stack, answers=1))))
    np.testing.assert_array_equal(segmenter.predict(stack).probability.array, segmenter.predict(stack).probability.array)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_network_without_dropout_says_so(segmenter: BundleSegmenter, stack: Volume) -> None:
    with pytest.raises(InputError, match="no dropout"):
        list(ask_with_dropout(segmenter, stack))


def test_what_cannot_be_combined_is_refused(segmenter: BundleSegmenter, stack: Volume) -> None:
    with pytest.raises(InputError, match="no answer"):
        combine([])
    with pytest.raises(InputError, match="one grid"):
        combine([np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 3), np.float32)])
    with pytest.raises(InputError, match="8 mirrored views"):
        list(ask_mirrored(segmenter, stack, answers=9))
