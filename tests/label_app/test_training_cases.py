"""What a training learns from and is judged on: real answers and labels in a real store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from review.example import TRUTH, answer_items, make_prediction, make_region, make_service, read_image

from minivess.datasets import TrainingCase, load_pair, load_reviewed
from minivess.review.service import ReviewService
from minivess.volume import Box, write_volume

pytest.importorskip("monailabel")

from minivess.label_app import training_cases
from minivess.label_app.datastore import StoreDatastore
from minivess.label_app.training_cases import (
    apart_by_kind,
    looked_at,
    only_reviewed,
    open_regions,
    reviewed_cases,
    with_later_answers,
)


@pytest.fixture
def service(tmp_path: Path) -> ReviewService:
    service = make_service(tmp_path)
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=20)
    return service


def voxels(case: TrainingCase) -> np.ndarray:
    image, _ = load_pair(case.to_item())
    return load_reviewed(case.to_item(), image)


def test_reviewed_cases__held_out_places_are_never_learned_and_stay_held_out(service: ReviewService, tmp_path: Path) -> None:
    answer_items(service, "ann", 12)

    def collect(leave_out: set[str]):
        return reviewed_cases(StoreDatastore(service.store), service, tmp_path / "cases", leave_out=leave_out, unit=None)

    found = collect(set())
    (learned,), (held_out,) = found.training, found.held_out
    _, answered = service.mask("a")
    assert not (voxels(learned) & voxels(held_out)).any()
    np.testing.assert_array_equal(voxels(learned) | voxels(held_out), answered)
    label = load_pair(learned.to_item())[1].array > 0
    assert (label == TRUTH)[answered].all()
    before = voxels(held_out)
    answer_items(service, "bob", 4)
    assert (voxels(collect(set()).held_out[0]) | ~before).all()
    assert collect({"a"}).training == []  # its final label counts


def test_reviewed_cases__answers_that_are_all_held_out_are_learned(
    service: ReviewService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box,) = answer_items(service, "ann", 1)
    monkeypatch.setattr(training_cases, "HELD_OUT_PLACES", 1)  # chooses every place
    found = reviewed_cases(StoreDatastore(service.store), service, tmp_path / "cases", leave_out=set(), unit=None)
    assert voxels(found.training[0])[box.slices].all()
    assert found.held_out == []


def test_apart_by_kind__random_checks_are_cases_of_their_own(service: ReviewService, tmp_path: Path) -> None:
    datastore, folder = StoreDatastore(service.store), tmp_path / "cases"
    answer_items(service, "ann", 9)

    def learned() -> TrainingCase:
        (case,) = reviewed_cases(datastore, service, folder, leave_out=set(), unit=None).training
        return case

    assert apart_by_kind([learned()], datastore, service, folder) == [learned()], "no random check was answered"
    drawn = [replace(make_region(Box(x, x + 8, 60, 76, 0, 12)), kind="random check") for x in range(0, 80, 8)]
    service.store.queue.propose("a", drawn, model="one", actor="server")
    answer_items(service, "ann", training_cases.MIN_RANDOM_CHECKS - 1)
    assert apart_by_kind([learned()], datastore, service, folder) == [learned()], "half of all patches would be of few places"
    answer_items(service, "ann", len(drawn))
    whole = replace(learned(), image=learned().image.with_name("b.nii.gz"), reviewed=None)
    ranked, checks, other = apart_by_kind([learned(), whole], datastore, service, folder)
    assert other == whole
    assert not (voxels(ranked) & voxels(checks)).any()
    np.testing.assert_array_equal(voxels(ranked) | voxels(checks), voxels(learned()))
    where = np.zeros(TRUTH.shape, bool)
    where[:80, 60:76] = True
    np.testing.assert_array_equal(voxels(checks), where & voxels(learned()))


def test_looked_at__a_submitted_prediction_judges_nobody_a_corrected_one_only_there(
    service: ReviewService, tmp_path: Path
) -> None:
    image = read_image(service)
    prediction = service.contexts.get("a").mask

    def case_of(mask: np.ndarray, name: str) -> TrainingCase:
        label = tmp_path / f"{name}.nii.gz"
        write_volume(image.with_array(mask.astype(np.uint8)), label)
        return TrainingCase(Path(StoreDatastore(service.store).get_image_uri("a")), label, "mouse")

    assert looked_at([("a", case_of(prediction, "same"))], service, tmp_path / "cases") == []
    drawn = prediction.copy()
    drawn[2:5, 3, 4] = ~drawn[2:5, 3, 4]
    (judged,) = looked_at([("a", case_of(drawn, "drawn"))], service, tmp_path / "cases")
    counts = voxels(judged)
    assert counts[2:5, 3, 4].all()
    assert 0 < counts.mean() < 0.2
    whole = case_of(drawn, "whole")
    assert looked_at([("b", whole)], service, tmp_path / "cases") == [whole]  # never predicted: all of it was drawn


def submitted(service: ReviewService, mask: np.ndarray, tmp_path: Path) -> dict[str, TrainingCase]:
    """Submit a mask as the label of ``a``."""
    label = tmp_path / "submitted.nii.gz"
    write_volume(read_image(service).with_array(mask.astype(np.uint8)), label)
    service.store.submit(label, image_id="a", actor="ann")
    return {"a": TrainingCase(Path(StoreDatastore(service.store).get_image_uri("a")), label, "mouse")}


def test_with_later_answers__they_are_learned_not_what_the_label_said_there(service: ReviewService, tmp_path: Path) -> None:
    cases = submitted(service, service.contexts.get("a").mask, tmp_path)
    assert with_later_answers(cases, service, tmp_path / "cases") == cases
    answered = answer_items(service, "bob", 3)
    label = load_pair(with_later_answers(cases, service, tmp_path / "cases")["a"].to_item())[1].array > 0
    for box in answered:
        np.testing.assert_array_equal(label[box.slices], TRUTH[box.slices])


def test_only_reviewed__after_a_newer_model_only_the_answers_count(service: ReviewService, tmp_path: Path) -> None:
    answer_items(service, "ann", 1)
    cases = submitted(service, service.mask("a")[0].array > 0, tmp_path)
    answered = service.mask("a")[1]
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server")
    np.testing.assert_array_equal(voxels(only_reviewed(cases, service, tmp_path / "cases")["a"]), answered)


def test_only_reviewed__a_label_submitted_while_regions_were_open_counts_where_somebody_looked(
    service: ReviewService, tmp_path: Path
) -> None:
    store, image, label = service.store, read_image(service), tmp_path / "label.nii.gz"
    write_volume(image.with_array(service.contexts.get("a").mask.astype(np.uint8)), label)
    cases = {"a": TrainingCase(Path(StoreDatastore(store).get_image_uri("a")), label, "mouse")}
    assert only_reviewed(cases, service, tmp_path / "cases") == cases  # no answer: a label from another program
    answer_items(service, "ann", 2)
    left = store.queue.all("a", states=("pending", "leased"), limit=0)[1]
    assert open_regions(store, "a") == left
    store.submit(label, image_id="a", actor="ann")
    partly = only_reviewed(cases, service, tmp_path / "cases")["a"]
    np.testing.assert_array_equal(voxels(partly), service.mask("a")[1])
    answer_items(service, "ann", left)
    assert open_regions(store, "a") == left  # when it was submitted


def test_only_reviewed__a_label_of_a_review_that_was_done_counts_as_a_whole_also_beside_a_newer_queue(
    service: ReviewService, tmp_path: Path
) -> None:
    store, label = service.store, tmp_path / "label.nii.gz"
    answer_items(service, "ann", store.queue.all("a", limit=0)[1])
    write_volume(service.mask("a")[0], label)
    store.submit(label, image_id="a", actor="ann")
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 2, "two"), actor="server", count=20)
    assert store.queue.all("a", states=("pending",), limit=0)[1] > 0
    assert open_regions(store, "a") == 0
