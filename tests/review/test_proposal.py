from __future__ import annotations

import numpy as np
import pytest
from review.drawing import tube
from review.example_stack import LINE, SHAPE, SPACING, example_probability, prediction_from, propose

from minivess.models.normalise import fit_scaling
from minivess.review.proposal import Proposal
from minivess.review.region_picture import region_picture
from minivess.review.region_selection import REGION_SIZE_UM
from minivess.volume import Box


@pytest.fixture(scope="module")
def proposal() -> Proposal:
    return propose(example_probability(), count=6)


def test_propose_regions__uncertain_regions_come_first(proposal: Proposal) -> None:
    hit = np.zeros(SHAPE, bool)
    for region in proposal.regions[:2]:
        hit[region.box.slices] = True
    assert hit[58, 45, 8]
    assert hit[40:50, 12, 4].all()
    assert [r.expected_errors for r in proposal.regions] == sorted((r.expected_errors for r in proposal.regions), reverse=True)
    assert proposal.ranked_by == "rule"
    assert proposal.retrain_first == ""


def test_propose_regions__each_has_a_reason_and_its_true_position(proposal: Proposal) -> None:
    kinds = {region.kind: region for region in proposal.regions}
    assert {"gap", "faint branch"} & set(kinds) or "blob" in kinds
    for region in proposal.regions:
        x, y, z = (np.asarray(region.centre_ras) - [300, -20, 7]) / [-1, 1, 5]  # back to voxels
        x0, x1, y0, y1, z0, z1 = region.box
        assert x0 <= x < x1
        assert y0 <= y < y1
        assert z0 <= z < z1
        assert region.box_ras[0] == pytest.approx(300 - (x0 - 0.5))
        assert region.box_ras[5] == pytest.approx(7 + 5 * (z1 - 0.5))
        assert all(n * s <= size for n, s, size in zip(region.box.shape, SPACING, REGION_SIZE_UM["mass"], strict=True))
        assert region.cost_s > 4
        assert len(region.reason) > 10
        assert region.to_json()["kind"] == region.kind


def test_propose_regions__reviewed_boxes_are_not_proposed_again() -> None:
    p = example_probability()
    reviewed: list[Box] = []
    for _ in range(4):
        regions = propose(p, count=2, reviewed=reviewed).regions
        for region in regions:
            new = np.zeros(SHAPE, bool)
            new[region.box.slices] = True
            for box in reviewed:
                new[box.slices] = False
            assert new.sum() >= 0.45 * np.prod(region.box.shape)
        reviewed += [region.box for region in regions]
    assert propose(p, reviewed=[Box.from_corners((0, 0, 0), SHAPE)]).regions == ()


def test_propose_regions__the_objective_density_has_smaller_regions() -> None:
    p = example_probability()
    mass, density = (propose(p, count=3, objective=objective).regions for objective in ("mass", "density"))
    size = lambda regions: np.mean([np.prod(region.box.shape) for region in regions])  # noqa: E731
    assert size(density) < 0.6 * size(mass)


def test_retrain_first__when_the_model_expects_many_errors() -> None:
    p = np.random.default_rng(0).uniform(0.3, 0.6, SHAPE)
    assert "retrain first" in propose(p, count=1).retrain_first


def test_propose_regions__a_certain_model_expects_few_errors() -> None:
    certain, uncertain = tube(SHAPE, LINE, radius=5).astype(float), example_probability()
    expected = [propose(p, count=1).regions[0].expected_errors for p in (certain, uncertain)]
    assert expected[0] < 0.5 * expected[1]


def test_propose_regions__the_contrast_of_the_network_can_be_used() -> None:
    image = np.random.default_rng(0).gamma(2.0, 50.0, SHAPE).astype(np.uint16)
    contrast = fit_scaling(image, "two_photon").apply(image)
    assert propose(example_probability(), contrast, count=1).regions


def test_region_picture__shows_a_frame_and_the_outline(proposal: Proposal) -> None:
    rng = np.random.default_rng(0)
    p = example_probability()
    prediction = prediction_from(p)
    image = prediction.probability.with_array((p * 200 + rng.normal(0, 5, SHAPE)).astype(np.float32))
    picture = region_picture(image, prediction.mask, proposal.regions[0])
    assert picture.shape[0] == 256
    assert picture.dtype == np.uint8
    assert (picture == [255, 210, 60]).all(axis=-1).sum() > 400  # the frame
    assert (picture == [255, 70, 50]).all(axis=-1).any()  # the outline
