from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from review.drawing import tube

from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.models.normalise import fit_scaling
from minivess.review.cells import FEATURES, cut_in_cells, sum_cells
from minivess.review.picture import region_picture
from minivess.review.places import GLANCE_UM, choose_boxes
from minivess.review.propose import Proposal, propose
from minivess.review.ranker import ENOUGH_ANSWERS, Answers, rank, rule
from minivess.review.survey import look_over
from minivess.review.suspicion import significant_error
from minivess.volume import Volume

SPACING = (1.0, 1.0, 5.0)
SHAPE = (120, 90, 16)
LINE = ((5, 45, 8), (115, 45, 8))


def proposed(probability: np.ndarray, contrast: np.ndarray | None = None, **options: Any) -> Proposal:
    prediction = prediction_of(probability)
    contrast = probability.astype(np.float32) if contrast is None else contrast
    mask = prediction.mask.array > 0
    return propose(look_over(prediction.probability, mask, contrast, threshold=prediction.threshold), **options)


def prediction_of(probability: np.ndarray) -> Prediction:
    affine = np.array([[-1.0, 0, 0, 300], [0, 1, 0, -20], [0, 0, 5, 7], [0, 0, 0, 1]])
    volume = Volume(probability.astype(np.float32), affine, "um")
    uncertainty = volume.with_array(binary_entropy(volume.array))
    return Prediction(volume, uncertainty, ModelRef("made", "0", "0" * 64), 0.5)


def stack(gap: slice = slice(50, 66), doubt: float = 0.35) -> np.ndarray:
    """A wide vessel with an unsure outline and a gap, and a faint vessel of its own that was not drawn."""
    core, edge = tube(SHAPE, LINE, radius=5), tube(SHAPE, LINE, radius=6)
    p = np.where(core, 0.97, np.where(edge, 0.45, 0.002))
    p[gap] = np.where(edge[gap], doubt, 0.002)
    p[tube(SHAPE, ((20, 12, 4), (70, 12, 4)), radius=2)] = 0.4
    return p


@pytest.fixture(scope="module")
def proposal() -> Proposal:
    p = stack()
    return proposed(p, count=6)


def test_suspicion_leaves_outlines_alone() -> None:
    p = stack().astype(np.float32)
    suspicion = significant_error(p, p >= 0.5, SPACING)
    assert suspicion[20, 45, 8] < 0.1  # inside
    assert suspicion[20, 39, 8] == 0  # the outline, at 0.45
    assert suspicion[58, 45, 8] > 0.25  # the gap
    assert suspicion[45, 12, 4] > 0.2  # the vessel that was not drawn
    assert suspicion[100, 80, 2] < 0.05
    assert suspicion.dtype == np.float32


def test_a_false_vessel_is_suspicious_where_it_is_faint_all_over() -> None:
    p = np.full(SHAPE, 0.02, np.float32)
    p[tube(SHAPE, LINE, radius=4)] = 0.55
    suspicion = significant_error(p, p >= 0.5, SPACING)
    assert suspicion[60, 45, 8] > 0.4


@pytest.mark.parametrize("shape", [(16, 16, 4), (17, 9, 5), (3, 2, 1)])
def test_cells_cover_every_voxel_once(shape: tuple[int, int, int]) -> None:
    p = np.random.default_rng(0).random(shape).astype(np.float32)
    cells = cut_in_cells(p, p > 0.5, p, SPACING)
    assert cells.edge == (8, 8, 2)
    assert cells.voxels.sum() == p.size
    assert cells.features.shape == (len(cells.voxels), len(FEATURES))
    assert (cells.column("mean probability") * cells.voxels).sum() == pytest.approx(p.sum(), rel=1e-4)
    assert sum_cells(np.ones(shape), cells.edge).sum() == p.size


def test_the_doubtful_places_come_first(proposal: Proposal) -> None:
    first = [region.slices for region in proposal.regions[:2]]
    hit = np.zeros(SHAPE, bool)
    for window in first:
        hit[window] = True
    assert hit[58, 45, 8]
    assert hit[40:50, 12, 4].all()
    assert [r.expected_errors for r in proposal.regions] == sorted((r.expected_errors for r in proposal.regions), reverse=True)
    assert proposal.ranked_by == "rule"
    assert proposal.retrain_first == ""


def test_places_are_named_in_words_and_lie_where_they_say(proposal: Proposal) -> None:
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
        assert all(
            (b - a) * s <= g for a, b, s, g in zip(region.box[::2], region.box[1::2], SPACING, GLANCE_UM["mass"], strict=True)
        )
        assert region.cost_s > 4
        assert len(region.reason) > 10
        assert region.to_json()["kind"] == region.kind


def test_answered_places_do_not_come_back() -> None:
    p = stack()
    answered = []
    for _ in range(4):
        found = proposed(p, count=2, reviewed=answered).regions
        for region in found:
            new = np.zeros(SHAPE, bool)
            new[region.slices] = True
            for x0, x1, y0, y1, z0, z1 in answered:
                new[x0:x1, y0:y1, z0:z1] = False
            assert new.sum() >= 0.45 * np.prod([s.stop - s.start for s in region.slices])
        answered += [region.box for region in found]
    everything = (0, SHAPE[0], 0, SHAPE[1], 0, SHAPE[2])
    assert proposed(p, reviewed=[everything]).regions == ()


def test_density_asks_for_smaller_places() -> None:
    p = stack()
    mass, density = (proposed(p, count=3, order=order).regions for order in ("mass", "density"))
    size = lambda regions: np.mean([np.prod([s.stop - s.start for s in r.slices]) for r in regions])  # noqa: E731
    assert size(density) < 0.6 * size(mass)


def test_a_model_that_is_lost_says_retrain_first() -> None:
    p = np.random.default_rng(0).uniform(0.3, 0.6, SHAPE)
    assert "retrain first" in proposed(p, count=1).retrain_first


def test_a_sure_model_expects_little() -> None:
    sure, unsure = tube(SHAPE, LINE, radius=5).astype(float), stack()
    expected = [proposed(p, count=1).regions[0].expected_errors for p in (sure, unsure)]
    assert expected[0] < 0.5 * expected[1]


def test_the_picture_of_a_place(proposal: Proposal) -> None:
    rng = np.random.default_rng(0)
    p = stack()
    prediction = prediction_of(p)
    image = prediction.probability.with_array((p * 200 + rng.normal(0, 5, SHAPE)).astype(np.float32))
    picture = region_picture(image, prediction.mask, proposal.regions[0])
    assert picture.shape[0] == 256
    assert picture.dtype == np.uint8
    assert (picture == [255, 210, 60]).all(axis=-1).sum() > 400  # the frame
    assert (picture == [255, 70, 50]).all(axis=-1).any()  # the outline


def answers_of(cells_count: int, *, useful: bool, seed: int = 0) -> tuple[Answers, np.ndarray]:
    """Answers in which the contrast tells the errors and the rule's column tells nothing, or the other way round."""
    rng = np.random.default_rng(seed)
    features = rng.random((cells_count, len(FEATURES))).astype(np.float32)
    column = FEATURES.index("mean contrast") if useful else 0
    errors = (features[:, column] > 0.8).astype(float)
    return Answers(features, errors, np.arange(cells_count), np.zeros(cells_count, np.int64)), errors


def test_the_ranker_learns_what_the_rule_does_not_know() -> None:
    p = stack().astype(np.float32)
    cells = cut_in_cells(p, p >= 0.5, p, SPACING)
    answers, _ = answers_of(400, useful=True)
    score, how = rank(cells, answers)
    assert how == "answers"
    assert np.corrcoef(score, cells.column("mean contrast"))[0, 1] > 0.3


def test_the_rule_stays_where_it_is_better_or_answers_are_few() -> None:
    p = stack().astype(np.float32)
    cells = cut_in_cells(p, p >= 0.5, p, SPACING)
    for answers in (answers_of(400, useful=False)[0], answers_of(ENOUGH_ANSWERS - 1, useful=True)[0], None):
        score, how = rank(cells, answers)
        assert how == "rule"
        np.testing.assert_array_equal(score, rule(cells))


def test_answers_of_other_volumes_help_a_new_one_once_there_are_three() -> None:
    p = stack().astype(np.float32)
    cells = cut_in_cells(p, p >= 0.5, p, SPACING)
    others = [answers_of(200, useful=True, seed=s)[0] for s in range(3)]
    assert rank(cells, Answers.joined(None, others))[1] == "answers"
    assert rank(cells, Answers.joined(None, others[:2]))[1] == "rule"
    joined = Answers.joined(others[0], others[1:])
    assert np.unique(joined.place).size == 600
    assert np.unique(joined.volume).tolist() == [0, 1, 2]


def test_boxes_end_where_nothing_is_left() -> None:
    p = np.zeros((32, 32, 8), np.float32)
    cells = cut_in_cells(p, p > 0.5, p, SPACING)
    assert choose_boxes(cells, np.zeros(len(cells.voxels)), SPACING, count=10) == []
    one = np.zeros(len(cells.voxels))
    one[5] = 1.0
    ((box, worth),) = choose_boxes(cells, one, SPACING, count=10)
    assert worth == pytest.approx(1.0)
    assert box[0] == 0


def test_the_microscopes_contrast_can_be_used() -> None:
    image = np.random.default_rng(0).gamma(2.0, 50.0, SHAPE).astype(np.uint16)
    contrast = fit_scaling(image, "two_photon").apply(image)
    assert proposed(stack(), contrast, count=1).regions
