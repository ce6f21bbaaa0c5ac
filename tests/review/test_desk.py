from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from review.drawing import tube

from minivess.errors import ConflictError, InputError, NotFoundError
from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.review.accepted import lay_under, pack, unpack
from minivess.review.desk import ReviewDesk
from minivess.review.ranker import ENOUGH_ANSWERS
from minivess.review.region import Region
from minivess.store import LabelStore
from minivess.volume import Volume, read_volume, write_volume

SHAPE = (96, 80, 12)
AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])
TRUTH = tube(SHAPE, ((5, 40, 6), (90, 40, 6)), ((10, 12, 3), (80, 12, 3)), radius=4)


def predicted(image: Volume, seed: int, sha: str) -> Prediction:
    """A model that misses a stretch, invents another, and is unsure in between."""
    rng = np.random.default_rng(seed)
    drawn = TRUTH.copy()
    x = int(rng.integers(15, 60))
    drawn[x : x + 14] = False
    p = np.where(drawn, 0.95, np.where(TRUTH, 0.3, 0.01))
    p[tube(SHAPE, ((20, 65, 8), (50, 65, 8)), radius=3)] = 0.6
    p = np.clip(p + rng.normal(0, 0.02, SHAPE), 0, 1).astype(np.float32)
    return Prediction(image.with_array(p), image.with_array(binary_entropy(p)), ModelRef("made", "0", sha), 0.5)


@pytest.fixture
def desk(tmp_path: Path) -> ReviewDesk:
    return studio(tmp_path)


def studio(tmp_path: Path) -> ReviewDesk:
    """Two images of the same vessels in a store."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = np.clip(np.where(TRUTH, 120, 30) + rng.normal(0, 8, SHAPE), 0, 255).astype(np.uint8)
        write_volume(Volume(image, AFFINE, "um"), tmp_path / "studies" / f"{name}.nii.gz")
    store = LabelStore(tmp_path / "studies", unit="um")
    store.images.scan()
    return ReviewDesk(
        store, tmp_path / "work", lambda i: read_volume(store.images.get(i).image, unit="um"), modality="two_photon"
    )


def image(desk: ReviewDesk, name: str = "a") -> Volume:
    return read_volume(desk.store.images.get(name).image, unit="um")


def work(desk: ReviewDesk, person: str, answers: int) -> list[tuple[int, ...]]:
    """Fix or accept places as somebody who knows the truth; gives their boxes."""
    boxes = []
    for _ in range(answers):
        place = desk.store.places.next(person, seconds=60)
        if place is None:
            break
        region = Region.of_json(place.region)
        truth = TRUTH[region.slices]
        same = ((desk.mask(place.case)[0].array[region.slices] > 0) == truth).all()
        desk.answer(place.id, "accepted" if same else "fixed", actor=person, corrected=None if same else truth, seconds=3.2)
        boxes.append(region.box)
    return boxes


def test_the_loop_of_a_person_who_knows(desk: ReviewDesk) -> None:
    assert desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=12)
    assert not desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=12)  # nothing new
    before = desk.store.places.all("a")[0]
    wrong = (desk.mask("a")[0].array > 0) != TRUTH
    work(desk, "ann", 12)
    mask, locked = desk.mask("a")
    assert ((mask.array > 0) != TRUTH).sum() < 0.2 * wrong.sum()
    assert ((mask.array > 0) == TRUTH)[locked].all()
    assert before[0].id in [p.id for p in desk.store.places.answered("a")]


def test_after_answers_and_retrains_nothing_accepted_changes_and_nothing_comes_back(desk: ReviewDesk) -> None:
    answered: list[tuple[int, ...]] = []
    for seed in range(4):
        desk.take_in("a", predicted(image(desk), seed, f"model{seed}"), actor="server", count=5)
        open_places = desk.store.places.all("a", states=["pending"])[0]
        new = np.ones(SHAPE, bool)
        for x0, x1, y0, y1, z0, z1 in answered:
            new[x0:x1, y0:y1, z0:z1] = False
        for place in open_places:
            window = Region.of_json(place.region).slices
            assert new[window].mean() > 0.4
        mask, locked = desk.mask("a")
        assert ((mask.array > 0) == TRUTH)[locked].all()
        answered += work(desk, ("ann", "bob")[seed % 2], 2)
    assert len(desk.store.places.answered("a")) == len(answered)


def test_answers_teach_and_answers_taken_back_do_not(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=6)
    work(desk, "ann", 3)
    learned = desk._answers("a")
    assert learned is not None
    assert np.unique(learned.place).size == 3
    assert learned.errors.sum() > 0.5
    assert learned.features.shape[1] > 5
    other = desk._answers("b")
    assert other is not None
    assert (other.volume > 0).all()
    for place in desk.store.places.answered("a"):
        desk.store.places.reopen(place.id, actor="ann")
    assert desk._answers("a") is None
    assert not desk.mask("a")[1].any()


def test_a_skipped_place_locks_nothing(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=2)
    place = desk.store.places.next("ann", seconds=60)
    assert place is not None
    desk.answer(place.id, "skipped", actor="ann")
    assert not desk.mask("a")[1].any()
    assert desk._answers("a") is None


def test_a_lost_folder_of_predictions_costs_no_answer(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=2)
    work(desk, "ann", 1)
    accepted = desk.mask("a")[1].sum()
    (desk.kept.folder / "a.npz").unlink()
    with pytest.raises(NotFoundError, match="no prediction of a"):
        desk.mask("a")
    desk.take_in("a", predicted(image(desk), 2, "two"), actor="server", count=2)
    assert desk.mask("a")[1].sum() == accepted


def test_answers_that_do_not_fit_are_refused_and_change_nothing(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=2)
    place = desk.store.places.next("ann", seconds=60)
    assert place is not None
    shape = TRUTH[Region.of_json(place.region).slices].shape
    with pytest.raises(InputError, match="come with the answer fixed"):
        desk.answer(place.id, "fixed", actor="ann")
    with pytest.raises(InputError, match="come with the answer fixed"):
        desk.answer(place.id, "accepted", actor="ann", corrected=np.zeros(shape, bool))
    with pytest.raises(InputError, match="The place has"):
        desk.answer(place.id, "fixed", actor="ann", corrected=np.zeros((1, 1, 1), bool))
    with pytest.raises(ConflictError, match="ann is looking"):
        desk.answer(place.id, "accepted", actor="bob")
    assert desk.store.places.answered("a") == []


def test_masks_are_packed_whole_and_damage_is_named() -> None:
    mask = np.random.default_rng(0).random((5, 7, 3)) < 0.3
    np.testing.assert_array_equal(unpack(pack(mask), mask.shape), mask)
    for damaged in ("", "abc", pack(mask)[:-8], "####"):
        with pytest.raises(InputError, match="Packed voxels"):
            unpack(damaged or "AAAA", mask.shape)
    later = [{"box": (0, 5, 0, 7, 0, 3), "mask": pack(mask)}, {"box": (0, 1, 0, 1, 0, 1)}]
    result, locked = lay_under(np.ones((6, 8, 4), bool), later)
    np.testing.assert_array_equal(result[:5, :7, :3], mask)
    assert locked.sum() == mask.size


def test_what_was_not_seen_is_not_accepted(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=2)
    place = desk.store.places.next("ann", seconds=60)
    assert place is not None
    desk.take_in("a", predicted(image(desk), 2, "two"), actor="server", count=2)
    with pytest.raises(ConflictError, match="A newer model has drawn"):
        desk.answer(place.id, "accepted", actor="ann")
    assert not desk.mask("a")[1].any()
    truth = TRUTH[Region.of_json(place.region).slices]
    assert desk.answer(place.id, "fixed", actor="ann", corrected=truth).state == "fixed"  # a person's own work is taken


def test_where_places_overlap_the_later_answer_counts(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server")
    box = [10, 20, 10, 20, 2, 4]
    for value in (0, 1):
        number = desk.store.places.propose("a", [{"box": box, "expected_errors": 1.0, "model": "one"}], actor="x", about={})
        desk.answer(f"a:{number}.0", "fixed", actor="ann", corrected=np.full((10, 10, 2), bool(value)))
    assert (desk.mask("a")[0].array[10:20, 10:20, 2:4] == 1).all()


def test_half_precision_moves_no_voxel_across_the_threshold(desk: ReviewDesk) -> None:
    volume = image(desk)
    for threshold in (0.5, 0.37, 0.3333):
        p = (threshold + np.random.default_rng(0).normal(0, 1e-4, SHAPE)).astype(np.float32)
        prediction = Prediction(volume.with_array(p), volume.with_array(p), ModelRef("made", "0", "x"), threshold)
        desk.kept.put("a", volume, prediction)
        np.testing.assert_array_equal(desk.kept.get("a", volume).mask.array, prediction.mask.array)


def test_an_image_that_was_exchanged_is_asked_about_anew(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=2)
    old = image(desk)
    write_volume(Volume(old.array[::-1].copy(), AFFINE, "um"), desk.store.images.get("a").image)
    with pytest.raises(NotFoundError, match="of an older image"):
        desk.mask("a")
    assert desk.take_in("a", predicted(image(desk), 1, "one"), actor="server", count=2)
    assert desk.mask("a")[0].array.any()


def test_places_are_ranked_again_where_that_may_change_something(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server")
    box = {"box": [0, 8, 0, 8, 0, 2], "kind": "gap", "model": "one"}
    desk.store.places.propose("a", [{**box, "expected_errors": 200.0 - n} for n in range(100)], actor="server", about={})
    may = []
    for _ in range(95):
        place = desk.store.places.next("ann", seconds=60)
        assert place is not None
        may.append(desk.may_rank_again(desk.store.places.answer(place.id, "accepted", actor="ann")))
    assert not any(may[: ENOUGH_ANSWERS - 1]), "too few answers to learn from"
    assert all(may[ENOUGH_ANSWERS - 1 :])
    desk.store.places.propose("a", [{**box, "expected_errors": 1.0}] * 12, actor="server", about={})
    for place in desk.store.places.all("a", states=("pending",))[0][:9]:
        assert not desk.may_rank_again(desk.store.places.answer(place.id, "accepted", actor="ann")), "it was just ranked"
    assert desk.store.places.count_answers() == {"a": 104}


def test_what_a_prediction_says_is_looked_over_once(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server")
    survey = desk.sights.get("a").survey
    work(desk, "ann", 3)
    desk.fill("a", actor="server")
    assert desk.sights.get("a").survey is survey
    desk.take_in("a", predicted(image(desk), 2, "two"), actor="server")
    assert desk.sights.get("a").survey is not survey


def test_a_place_that_is_looked_at_is_not_asked_about_twice(desk: ReviewDesk) -> None:
    desk.take_in("a", predicted(image(desk), 1, "one"), actor="server")
    held = desk.store.places.next("ann", seconds=60)
    assert held is not None
    desk.fill("a", actor="server")
    assert held.region["box"] not in [place.region["box"] for place in desk.store.places.all("a", states=("pending",))[0]]
    assert desk.answer(held.id, "accepted", actor="ann").state == "accepted"
