"""The gate with small real volumes and segmenters that are a fixed threshold: scores by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from minivess.errors import InputError, WeightsError
from minivess.evaluate import Anchor, AnchorResult, GateScores, ReviewedCase, choose_model, score_model, synthetic_anchors
from minivess.evaluate.anchors import compare_anchors
from minivess.models import Capabilities, ModelRef, Prediction
from minivess.volume import Volume


class Threshold:
    """A segmenter that says vessel where the image reaches a value, with the image as probability of the rest."""

    capabilities = Capabilities(frozenset(), ("vessel",), "two_photon")
    model = ModelRef("threshold", "0", "")

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, volume: Volume, prompts: object = None, roi: object = None, progress: object = None) -> Prediction:
        probability = volume.with_array((volume.array >= self.value).astype(np.float32))
        return Prediction(probability, volume.with_array(np.zeros(volume.shape, np.float32)), self.model, 0.5)


def case_of(image: np.ndarray, wanted: float, *, without_first: bool = False) -> ReviewedCase:
    volume = Volume(image.astype(np.float32), np.eye(4), "um")
    label, reviewed = image >= wanted, np.ones(image.shape, bool)
    if without_first:  # what is there does not count
        reviewed[0, 0, 0], label[0, 0, 0] = False, True
    return ReviewedCase(volume, volume.with_array(label.astype(np.uint8)), reviewed)


def cases() -> Iterator[ReviewedCase]:
    yield case_of(np.arange(8).reshape(2, 2, 2), 4, without_first=True)


def specks() -> Iterator[ReviewedCase]:
    """One long vessel of 9, and single voxels of 5 that are noise."""
    image = np.zeros((40, 20, 3))
    image[:, 2:5] = 9
    image[1::4, 8::4, 1] = 5
    yield case_of(image, 9)


def load(value: float) -> Callable[[], Threshold]:
    return lambda: Threshold(value)


def test_score_model__counts_reviewed_voxels_only() -> None:
    assert score_model(Threshold(4), cases()).dice == 1.0
    assert score_model(Threshold(6), cases()).dice == pytest.approx(2 * 2 / (4 + 2))
    with pytest.raises(InputError, match="at least one"):
        score_model(Threshold(4), [])


def test_score_model__number_of_pieces_and_background_zone() -> None:
    scores = score_model(Threshold(5), specks(), background_below=0.5)
    assert scores.betti0_error == pytest.approx(np.log2((30 + 2) / 2))  # 30 pieces too many, one is there
    assert scores.missed == 0.0
    assert score_model(Threshold(10), specks(), background_below=0.5).missed == 1.0


@pytest.mark.parametrize(("new", "old", "promoted"), [(4, 6, True), (6, 6, False), (6, 4, False), (6, None, True)])
def test_choose_model__better_on_the_reviewed_cases(new: float, old: float | None, promoted: bool) -> None:
    decision = choose_model({"new": load(new)}, None if old is None else Threshold(old), cases)
    assert decision.promoted is promoted
    assert (decision.before is None) == (old is None)
    assert decision.to_json()["validation_dice"] == decision.scores.dice
    assert ("kept the published model" in decision.state) is not promoted


def test_choose_model__says_when_nothing_can_be_better() -> None:
    assert "it is right, or nearly, in all reviewed regions" in choose_model({"new": load(4)}, Threshold(4), cases).state


@pytest.mark.requirement("R17")
def test_choose_model__refuses_what_an_anchor_would_lose_and_says_how_much() -> None:
    anchor = Anchor("capillaries", lambda: iter([case_of(np.arange(8).reshape(2, 2, 2), 6)]))
    decision = choose_model({"new": load(4)}, Threshold(6), cases, [anchor])
    assert decision.gain > 0
    assert not decision.promoted
    assert "would have lost 0.33 Dice and" in decision.state
    assert decision.to_json()["anchors"][0]["losses"]


def test_choose_model__specks_are_a_loss_although_dice_hardly_falls() -> None:
    before, after = (score_model(Threshold(value), specks()) for value in (9, 5))
    losses = AnchorResult("dim stacks", before, after).losses
    assert any("number of pieces on dim stacks (wrong by a factor of 1.0 before, 16.0 now)" in loss for loss in losses)


def test_choose_model__the_background_zone_is_a_promise() -> None:
    before, after = GateScores(0.9, 0.9, 0.0, 0.05), GateScores(0.9, 0.9, 0.0, 0.12)
    assert AnchorResult("dim stacks", before, after).losses == ["7 % of the vessel on dim stacks to the background zone"]


def test_compare_anchors__a_family_has_wider_margins_than_the_set_that_it_is_part_of() -> None:
    def scores(change: float) -> list[tuple[GateScores, GateScores]]:
        return [(GateScores(0.9, 0.8, 1.0), GateScores(0.9 + change, 0.8 + change, 1.0))]

    families = [Anchor(name, lambda: iter(()), part_of="all stacks") for name in ("thin", "wide", "unknown")]
    kept = compare_anchors([(families[0], scores(-0.07)), (families[1], scores(0.02)), (families[2], [])])
    assert [result.name for result in kept] == ["thin", "wide", "all stacks"]
    assert [result.losses for result in kept] == [[], [], []]
    assert kept[-1].after.dice == pytest.approx(0.875)  # the mean of both families
    thin, _, whole = compare_anchors([(families[0], scores(-0.1)), (families[1], scores(0.02))])
    assert thin.losses == ["0.10 Dice and 0.10 clDice on thin"]
    assert whole.losses == ["0.04 Dice and 0.04 clDice on all stacks"]
    (alone,) = compare_anchors([(Anchor("earlier subjects", lambda: iter(())), scores(-0.04))])
    assert alone.losses


def test_choose_model__a_candidate_that_cannot_predict_is_refused_and_the_others_are_judged() -> None:
    class Diverged(Threshold):
        def predict(self, *_: object, **__: object) -> Prediction:
            raise WeightsError("The network returned NaN or infinity.")

    decision = choose_model({"new": lambda: Diverged(4)}, Threshold(6), cases)
    assert not decision.promoted
    assert decision.state == "kept the published model: the new one cannot predict. The network returned NaN or infinity."
    assert decision.to_json()["published_dice_before"] > 0
    decision = choose_model({"new": lambda: Diverged(4), "half": load(4)}, Threshold(6), cases)
    assert (decision.candidate, decision.promoted) == ("half", True)


def test_choose_model__the_best_candidate_that_forgets_nothing() -> None:
    # 4 is the best on the reviewed cases, but loses the anchor; 5 is better than the published model and keeps it.
    anchor = Anchor("capillaries", lambda: iter([case_of(np.array([[[6.0, 5.5, 4.5, 4.2, 4.1, 4.1]]]), 5)]))
    decision = choose_model({"all": load(4), "half": load(5)}, Threshold(5.6), cases, [anchor])
    assert decision.promoted
    assert decision.candidate == "half"
    with pytest.raises(InputError, match="at least one"):
        choose_model({}, Threshold(4), cases)


def test_choose_model__what_the_published_model_does_not_know_it_cannot_forget() -> None:
    def stacks() -> Iterator[ReviewedCase]:
        yield case_of(np.arange(8).reshape(2, 2, 2), 7.5)  # of which the published model finds nothing
        yield case_of(np.arange(8).reshape(2, 2, 2), 6)

    decision = choose_model({"new": load(4)}, Threshold(6), cases, [Anchor("stacks", stacks, known_from=0.5)])
    assert decision.anchors[0].before.dice == 1.0  # of the second stack alone
    assert not decision.promoted
    unknown = Anchor("stacks", lambda: iter([next(stacks())]), known_from=0.5)
    assert choose_model({"new": load(4)}, Threshold(6), cases, [unknown]).promoted


def test_synthetic_anchors__are_fixed_and_cover_calibre_and_contrast() -> None:
    anchors = synthetic_anchors("two_photon")
    assert len({anchor.name for anchor in anchors}) == 4
    first, again = (next(iter(anchors[0].cases())) for _ in range(2))
    np.testing.assert_array_equal(first.image.array, again.image.array)
    assert 0 < first.label.array.mean() < 0.5
    for modality in ("mr_angiography", "ct_angiography"):
        (arteries,) = synthetic_anchors(modality)
        assert arteries.name == "synthetic arteries"
        assert 0 < next(iter(arteries.cases())).label.array.mean() < 0.5


def test_score_model__the_limit_of_the_background_zone_is_in_it_and_the_mask_is_not() -> None:
    assert score_model(Threshold(10), specks(), background_below=0.0).missed == 1.0
    assert score_model(Threshold(5), specks(), background_below=1.0).missed == 0.0  # found by the mask, whatever the limit is


def test_synthetic_anchors__do_not_count_what_the_model_does_not_know() -> None:
    anchors = synthetic_anchors("two_photon")
    assert anchors
    assert {anchor.known_from for anchor in anchors} == {0.5}  # near chance, scores go up and down by themselves
