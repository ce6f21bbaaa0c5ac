from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from review.example import AFFINE, SHAPE, TRUTH, answer_items, make_prediction, make_region, make_service, read_image

from minivess.errors import ConflictError, InputError, NotFoundError
from minivess.models import ModelRef, Prediction
from minivess.review.prediction_cache import CachedPrediction
from minivess.review.ranker import MIN_ANSWERS, BlockSamples
from minivess.review.ranker_samples import SampleFolder
from minivess.review.service import ReviewService
from minivess.volume import Box, Volume, write_volume


@pytest.fixture
def service(tmp_path: Path) -> ReviewService:
    return make_service(tmp_path)


def samples_of(service: ReviewService, image_id: str) -> BlockSamples | None:
    """The training samples that a new queue of an image is ranked with."""
    folder = service.predictions.folder.parent / "lessons"
    return SampleFolder(folder).read(image_id, service.store.queue.answered())


def test_review_service__an_annotator_who_knows_the_truth_corrects_the_mask(service: ReviewService) -> None:
    assert service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=12)
    assert not service.queue_builder.add_prediction(
        "a", make_prediction(read_image(service), 1, "one"), actor="server", count=12
    )  # known
    before = service.store.queue.all("a")[0]
    wrong = (service.mask("a")[0].array > 0) != TRUTH
    answer_items(service, "ann", 12)
    mask, locked = service.mask("a")
    assert ((mask.array > 0) != TRUTH).sum() < 0.2 * wrong.sum()
    assert ((mask.array > 0) == TRUTH)[locked].all()
    assert before[0].id in [item.id for item in service.store.queue.answered("a")]


def test_advice__holds_the_expected_quality_of_the_prediction(tmp_path: Path) -> None:
    service = make_service(tmp_path, quality_of=lambda prediction: f"usable with {prediction.model.weights_sha256}")
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=12)
    assert service.advice("a")["quality"] == "usable with one"
    assert service.predictions.quality("a") == "usable with one"
    assert service.predictions.quality("b") == ""


def test_add_prediction__a_quality_that_was_calibrated_later_is_taken_over(tmp_path: Path) -> None:
    said = [""]
    service = make_service(tmp_path, quality_of=lambda _: said[0])
    prediction = make_prediction(read_image(service), 1, "one")
    service.queue_builder.add_prediction("a", prediction, actor="server", count=12)
    items, mask = service.store.queue.all("a")[0], service.mask("a")[0].array
    said[0] = "needs review"
    assert not service.queue_builder.add_prediction("a", prediction, actor="server", count=12)
    assert service.advice("a")["quality"] == "needs review"
    assert service.store.queue.all("a")[0] == items
    assert np.array_equal(service.mask("a")[0].array, mask)


def test_share_of_errors__of_overlapping_boxes_and_of_the_whole_image(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=12)
    context = service.contexts.get("a")
    p, mask = context.probability.astype(float), context.mask
    wrong = np.where(mask, 1 - p, p)
    one, two = Box(0, 40, 30, 50, 2, 10), Box(20, 60, 30, 50, 2, 10)
    union = np.zeros(SHAPE, bool)
    for box in (one, two):
        union[box.slices] = True
    assert context.share_of_errors([one, two]) == pytest.approx(wrong[union].sum() / wrong.sum(), rel=1e-3)
    assert context.share_of_errors([]) == 0.0
    assert context.share_of_errors([Box.from_corners((0, 0, 0), SHAPE)]) == pytest.approx(1.0)


@pytest.mark.requirement("R11")
def test_add_prediction__accepted_regions_stay_and_are_not_proposed_again(service: ReviewService) -> None:
    answered: list[Box] = []
    for seed in range(4):
        service.queue_builder.add_prediction(
            "a", make_prediction(read_image(service), seed, f"model{seed}"), actor="server", count=5
        )
        new = np.ones(SHAPE, bool)
        for box in answered:
            new[box.slices] = False
        for item in service.store.queue.all("a", states=["pending"])[0]:
            assert new[item.region.box.slices].mean() > 0.4
        mask, locked = service.mask("a")
        assert ((mask.array > 0) == TRUTH)[locked].all()
        answered += answer_items(service, ("ann", "bob")[seed % 2], 2)
    assert len(service.store.queue.answered("a")) == len(answered)


def test_answer__becomes_training_samples_until_it_is_withdrawn(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=6)
    answer_items(service, "ann", 3)
    samples = samples_of(service, "a")
    assert samples is not None
    assert np.unique(samples.answer_index).size == 3
    assert samples.errors.sum() > 0.5
    assert samples.features.shape[1] > 5
    other = samples_of(service, "b")
    assert other is not None
    assert (other.volume_index > 0).all()
    for item in service.store.queue.answered("a"):
        service.store.queue.reopen(item.id, actor="ann")
    assert samples_of(service, "a") is None
    assert not service.mask("a")[1].any()


def test_rebuild_queue__is_ranked_by_answers_until_they_are_withdrawn(service: ReviewService) -> None:
    """The upper half of a row of background was a vessel: nothing but the depth of a block tells the forest so."""
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=1)
    boxes = [Box(x, x + 8, 24, 32, z, z + 2) for x in range(0, SHAPE[0], 8) for z in range(0, SHAPE[2], 2)]
    assert len(boxes) > MIN_ANSWERS
    service.store.queue.propose("a", [make_region(box, 200) for box in boxes], model="one", actor="server")
    for _ in boxes:
        item = service.store.queue.next("ann", seconds=60)
        assert item is not None
        missed = item.region.box.z0 >= SHAPE[2] // 2
        corrected = np.ones(item.region.box.shape, bool) if missed else None
        service.answer(item.id, "fixed" if missed else "accepted", actor="ann", corrected=corrected)
    assert service.queue_builder.rebuild("a", actor="server", count=1).ranked_by == "answers"
    for item in service.store.queue.answered("a"):
        service.store.queue.reopen(item.id, actor="ann")
    assert service.queue_builder.rebuild("a", actor="server", count=1).ranked_by == "rule"


def test_answer__run_later_defers_the_training_samples_only(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    item = service.store.queue.next("ann", seconds=60)
    assert item is not None
    later = []
    service.answer(item.id, "accepted", actor="ann", run_later=later.append)
    assert service.mask("a")[1].any()
    assert samples_of(service, "a") is None
    for work in later:
        work()
    assert samples_of(service, "a") is not None


def test_answer__a_skipped_region_locks_nothing(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    item = service.store.queue.next("ann", seconds=60)
    assert item is not None
    service.answer(item.id, "skipped", actor="ann")
    assert not service.mask("a")[1].any()
    assert samples_of(service, "a") is None


def test_prediction_cache__a_lost_file_loses_no_answer(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    answer_items(service, "ann", 1)
    accepted = service.mask("a")[1].sum()
    (service.predictions.folder / "a.npz").unlink()
    with pytest.raises(NotFoundError, match="no prediction for a"):
        service.mask("a")
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=2)
    assert service.mask("a")[1].sum() == accepted


def test_answer__is_refused_when_it_does_not_fit_and_changes_nothing(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    item = service.store.queue.next("ann", seconds=60)
    assert item is not None
    with pytest.raises(InputError, match=r"'fixed' comes with the voxels of the region.*Got 'fixed'"):
        service.answer(item.id, "fixed", actor="ann")
    with pytest.raises(InputError, match=r"'fixed' comes with the voxels of the region.*Got 'accepted'"):
        service.answer(item.id, "accepted", actor="ann", corrected=np.zeros(item.region.box.shape, bool))
    with pytest.raises(InputError, match="The region has"):
        service.answer(item.id, "fixed", actor="ann", corrected=np.zeros((1, 1, 1), bool))
    with pytest.raises(ConflictError, match="is reserved for ann"):
        service.answer(item.id, "accepted", actor="bob")
    assert service.store.queue.answered("a") == []


def test_answer__nobody_accepts_what_they_have_not_seen(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    item = service.store.queue.next("ann", seconds=60)
    assert item is not None
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=2)
    with pytest.raises(ConflictError, match="A newer model has predicted"):
        service.answer(item.id, "accepted", actor="ann")
    assert not service.mask("a")[1].any()
    truth = TRUTH[item.region.box.slices]
    assert service.answer(item.id, "fixed", actor="ann", corrected=truth).state == "fixed"  # the annotator's own work counts


@pytest.mark.row(113)
def test_mask__accepted_voxels_stay_where_a_later_region_overlaps(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server")
    box = Box(10, 20, 10, 20, 2, 4)
    wide = Box(5, 20, 10, 20, 2, 4)
    numbers = []
    for region, value in ((box, False), (wide, True)):
        numbers.append(service.store.queue.propose("a", [make_region(region)], model="one", actor="x"))
        service.answer(f"a:{numbers[-1]}.0", "fixed", actor="ann", corrected=np.full(region.shape, value))
    mask = service.mask("a")[0].array
    assert (mask[box.slices] == 0).all()
    assert (mask[5:10, 10:20, 2:4] == 1).all()
    service.store.queue.reopen(f"a:{numbers[0]}.0", actor="ann")  # who was wrong withdraws the answer first
    service.store.queue.reopen(f"a:{numbers[1]}.0", actor="ann")
    number = service.store.queue.propose("a", [make_region(box)], model="one", actor="x")
    service.answer(f"a:{number}.0", "fixed", actor="ann", corrected=np.full(box.shape, True))
    assert (service.mask("a")[0].array[box.slices] == 1).all()


@pytest.mark.parametrize("regions", [0, 20])
def test_next__leaves_out_a_withdrawn_answer_to_an_older_model(service: ReviewService, regions: int) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=20)
    item = service.next("ann", seconds=60)
    assert item
    service.answer(item.id, "skipped", actor="ann")
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=20)
    if not regions:
        service.store.queue.propose("a", [], model="two", actor="server")
    service.store.queue.reopen(item.id, actor="ann", reserve_s=60)
    offered = service.next("ann", seconds=60)
    assert (offered is None) == (regions == 0)
    assert offered is None or offered.model == "two"
    assert service.store.queue.get(item.id).state == "obsolete"


def test_answer__a_region_of_the_newest_model_is_not_accepted_for_the_mask_of_another_one(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=20)
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=20)
    item = service.next("ann", seconds=60)
    assert item
    assert item.model == "two"
    with pytest.raises(ConflictError, match="newer model"):
        service.answer(item.id, "accepted", actor="ann", shown_model="one")
    voxels = np.ones(item.region.box.shape, bool)
    with pytest.raises(ConflictError, match="newer model"):
        service.answer(item.id, "fixed", actor="ann", corrected=voxels, shown_model="one")
    assert service.answer(item.id, "accepted", actor="ann", shown_model="two").state == "accepted"


def test_reopen__an_answer_to_an_older_model_can_be_given_again(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=20)
    item = service.next("ann", seconds=60)
    assert item
    service.answer(item.id, "accepted", actor="ann")
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=20)
    assert service.reopen(item.id, actor="ann", reserve_s=60).model == "two"
    again = service.next("ann", seconds=60)
    assert again
    assert again.id == item.id
    assert service.answer(item.id, "accepted", actor="ann", shown_model="two").state == "accepted"


def test_next__offers_what_others_have_skipped_last_and_to_each_once(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    skipped = service.next("ann", seconds=60)
    assert skipped
    service.answer(skipped.id, "skipped", actor="ann", note="blurred")
    while (item := service.next("bob", seconds=60)) and item.id != skipped.id:
        service.answer(item.id, "accepted", actor="bob")
    assert item, "the skipped one comes last"
    assert (item.state, item.holder, item.skipped_note) == ("leased", "bob", "blurred")
    service.answer(item.id, "skipped", actor="bob")
    assert service.next("ann", seconds=60) is None
    assert service.next("bob", seconds=60) is None
    assert service.next("cleo", seconds=60) is not None


def test_what_was_skipped_with_an_older_model_is_proposed_again(service: ReviewService) -> None:
    image = read_image(service)
    service.queue_builder.add_prediction("a", make_prediction(image, 1, "one"), actor="server", count=20)
    first = service.store.queue.all("a", states=("pending",), limit=-1)[1]
    while item := service.next("ann", seconds=60):
        service.answer(item.id, "skipped", actor="ann")
    service.queue_builder.add_prediction("a", make_prediction(image, 1, "two"), actor="server", count=20)
    asked = service.store.queue.all("a", states=("pending",), limit=-1)[0]
    assert len(asked) == first
    assert {item.model for item in asked} == {"two"}
    offered = service.next("bob", seconds=60)
    assert offered
    assert offered.model == "two"
    assert service.store.queue.all("a", states=("skipped",), limit=-1)[1] == first, "what was said of the older model stays"


def test_answer__what_a_newer_model_shows_is_not_accepted_for_what_was_seen(
    service: ReviewService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=20)
    item, read = service.next("ann", seconds=60), service.mask
    assert item

    def mask(image_id: str) -> tuple[Volume, np.ndarray]:
        found = read(image_id)
        if service.predictions.weights_sha256("a") == "one":  # a newer model predicts while the answer is worked on
            service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=20)
        return found

    monkeypatch.setattr(service, "mask", mask)
    with pytest.raises(ConflictError, match="A newer model"):
        service.answer(item.id, "accepted", actor="ann")
    assert service.store.queue.get(item.id).answer is None


def test_answer__two_that_overlap_at_once__the_first_one_s_voxels_stay(
    service: ReviewService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server")
    box, wide = Box(10, 20, 10, 20, 2, 4), Box(5, 20, 10, 20, 2, 4)
    number = service.store.queue.propose("a", [make_region(box), make_region(wide)], model="one", actor="x")
    read, calls = service.mask, []

    def mask(image_id: str) -> tuple[Volume, np.ndarray]:
        found = read(image_id)
        calls.append(image_id)
        if len(calls) == 1:  # ann answers after bob's request has read the mask
            service.answer(f"a:{number}.0", "fixed", actor="ann", corrected=np.full(box.shape, True))
        return found

    monkeypatch.setattr(service, "mask", mask)
    service.answer(f"a:{number}.1", "fixed", actor="bob", corrected=np.full(wide.shape, False))
    shown = read("a")[0].array
    assert (shown[box.slices] == 1).all()
    assert (shown[5:10, 10:20, 2:4] == 0).all()


def test_mask_version__changes_whenever_the_mask_may(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    versions = [service.mask_version("a")]
    assert service.mask_version("a") == versions[0]
    item = service.store.queue.next("ann", seconds=60)
    assert item is not None
    service.answer(item.id, "fixed", actor="ann", corrected=TRUTH[item.region.box.slices])
    versions.append(service.mask_version("a"))
    service.store.queue.reopen(item.id, actor="ann")
    assert service.mask_version("a") == versions[0]
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=2)
    versions.append(service.mask_version("a"))
    assert versions[0] != versions[1] != versions[2] != versions[0]


def test_prediction_cache__half_precision_moves_no_voxel_across_the_threshold(service: ReviewService) -> None:
    volume = read_image(service)
    for threshold in (0.5, 0.37, 0.3333):
        p = (threshold + np.random.default_rng(0).normal(0, 1e-4, SHAPE)).astype(np.float32)
        prediction = Prediction(volume.with_array(p), volume.with_array(p), ModelRef("made", "0", "x"), threshold)
        service.predictions.put("a", volume, CachedPrediction.from_prediction(prediction))
        np.testing.assert_array_equal(service.predictions.get("a", volume).mask, prediction.mask.array > 0)


def test_prediction_cache__a_replaced_image_needs_a_new_prediction(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    old = read_image(service)
    write_volume(Volume(old.array[::-1].copy(), AFFINE, "um"), service.store.images.get("a").image)
    with pytest.raises(NotFoundError, match="of an older image"):
        service.mask("a")
    assert service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=2)
    assert service.mask("a")[0].array.any()


def test_should_rerank__only_when_that_may_change_something(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server")
    queue, box = service.store.queue, Box(0, 8, 0, 8, 0, 2)
    queue.propose("a", [make_region(box, 200.0 - n) for n in range(100)], model="one", actor="server")
    may = []
    for _ in range(95):
        item = queue.next("ann", seconds=60)
        assert item is not None
        may.append(service.queue_builder.should_rerank(queue.answer(item.id, "accepted", actor="ann")))
    assert not any(may[: MIN_ANSWERS - 1]), "too few answers to train on"
    assert all(may[MIN_ANSWERS - 1 :])
    queue.propose("a", [make_region(box, 1.0)] * 12, model="one", actor="server")
    for item in queue.all("a", states=("pending",))[0][:9]:
        assert not service.queue_builder.should_rerank(queue.answer(item.id, "accepted", actor="ann")), "it was just ranked"
    assert queue.count_answers() == {"a": 104}


def test_should_rerank__not_after_an_answer_to_an_older_model(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server")
    queue = service.store.queue
    queue.propose("a", [make_region(Box(0, 8, 0, 8, 0, 2), 200.0)] * 60, model="one", actor="server")
    for _ in range(59):
        item = queue.next("ann", seconds=60)
        assert item is not None
        last = queue.answer(item.id, "accepted", actor="ann")
    assert service.queue_builder.should_rerank(last)
    reserved = queue.next("ann", seconds=60)
    assert reserved is not None
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=1)
    assert not service.queue_builder.should_rerank(queue.answer(reserved.id, "fixed", actor="ann"))


def test_contexts__a_prediction_is_analysed_once(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server")
    analysis = service.contexts.get("a").analysis
    answer_items(service, "ann", 3)
    service.queue_builder.rebuild("a", actor="server")
    assert service.contexts.get("a").analysis is analysis
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server")
    assert service.contexts.get("a").analysis is not analysis


def test_rebuild_queue__does_not_propose_a_reserved_region_twice(service: ReviewService) -> None:
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server")
    reserved = service.store.queue.next("ann", seconds=60)
    assert reserved is not None
    service.queue_builder.rebuild("a", actor="server")
    pending = service.store.queue.all("a", states=("pending",))[0]
    assert pending
    assert reserved.region.box not in [item.region.box for item in pending]
    assert service.answer(reserved.id, "accepted", actor="ann").state == "accepted"
