"""A retraining rehearses what was learned before, interpolates, asks the gate, and can be taken back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minivess.datasets import TrainingCase, read_dataset
from minivess.errors import ConflictError, WeightsError
from minivess.evaluate import Promotion
from minivess.evaluate.gate_scores import GateScores
from minivess.models import load_bundle, read_metadata, weights_path
from minivess.models.interpolate import interpolate_weights
from minivess.models.weights import read_weights
from minivess.paths import file_sha256
from minivess.train import copy_bundle, publish, rehearsal_cases, retrain, roll_back, train_and_judge, write_training_data
from minivess.train.publishing import KEPT
from minivess.train.rehearsal import MIN_CASES, balanced, known_cases
from minivess.volume import read_volume, write_volume

SHORT = {"epochs": 1, "iterations_per_epoch": 2, "val_interval": 1, "patch_size": [32, 32, 8], "items_per_batch": 1}


@pytest.fixture
def model(bundle: Path, tmp_path: Path) -> Path:
    """A bundle with published weights."""
    copy = copy_bundle(bundle, tmp_path / "model")
    publish(weights_path(bundle), copy)
    return copy


def changed(model: Path, tmp_path: Path, name: str) -> Path:
    """Weights of the same network with other values."""
    old = read_weights(weights_path(model))[0]
    torch.manual_seed(sum(map(ord, name)))
    from safetensors.torch import save_file

    new = {key: value + 0.01 * torch.randn(value.shape) if value.is_floating_point() else value + 5 for key, value in old.items()}
    save_file(new, tmp_path / f"{name}.safetensors", metadata={"name": name})
    return tmp_path / f"{name}.safetensors"


def test_interpolate_weights__is_a_straight_line_and_its_ends(model: Path, tmp_path: Path) -> None:
    old, new = weights_path(model), changed(model, tmp_path, "new")
    half = interpolate_weights(old, new, 0.5, tmp_path / "half.safetensors")
    a, b, middle = (read_weights(path)[0] for path in (old, new, half))
    for name, value in middle.items():
        expected = (a[name] + b[name]) / 2 if value.is_floating_point() else b[name]
        torch.testing.assert_close(value, expected)
    assert read_metadata(half)["share_of_new_weights"] == "0.5"
    all_of_it = read_weights(interpolate_weights(old, new, 1.0, tmp_path / "all.safetensors"))[0]
    assert all(torch.equal(all_of_it[name], b[name]) for name in b)
    load_bundle(model, weights=half)


def test_interpolate_weights__refuses_two_networks(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="two networks"):
        interpolate_weights(weights_path(model), tmp_path / "other.safetensors", 0.5, tmp_path / "x.safetensors")


def test_roll_back__returns_the_models_in_reverse_order_with_what_belongs_to_them(model: Path, tmp_path: Path) -> None:
    first = file_sha256(weights_path(model))
    (weights_path(model).parent / "zones.json").write_text("of the first")
    names = [f"model{i}" for i in range(KEPT + 2)]
    hashes = [file_sha256(publish(changed(model, tmp_path, name), model)) for name in names]
    assert len(set(hashes)) == len(names)
    for expected in reversed(hashes[-1 - KEPT : -1]):
        assert file_sha256(roll_back(model)) == expected
    with pytest.raises(ConflictError, match="no earlier model"):
        roll_back(model)
    publish(weights_path(model), model)
    assert first != file_sha256(weights_path(model))


def test_publish__without_weights_the_bundle_is_unchanged(model: Path, tmp_path: Path) -> None:
    before = file_sha256(weights_path(model))
    with pytest.raises(WeightsError, match="no weights at"):
        publish(tmp_path / "nothing.safetensors", model)
    assert file_sha256(weights_path(model)) == before
    with pytest.raises(ConflictError):
        roll_back(model)


@pytest.mark.requirement("R18")
def test_roll_back__brings_zones_and_training_data_back(model: Path, dataset: Path, tmp_path: Path) -> None:
    case = read_dataset(dataset)["training"][0]
    write_training_data(model, [case])
    publish(changed(model, tmp_path, "next"), model)
    assert known_cases(model) == []  # what the first model had learned is not what the next one has
    roll_back(model)
    assert known_cases(model) == [case]


def test_rehearsal__earlier_cases_that_are_unchanged_then_synthetic_stacks(model: Path, dataset: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(dataset, own)
    cases = read_dataset(own)["training"]
    write_training_data(model, cases)
    new = [TrainingCase(own / "images" / "stack3.nii.gz", own / "labels" / "stack3.nii.gz", "stack3")]

    def rehearsed() -> list[str]:
        return [c.name for c in rehearsal_cases(model, new, modality="two_photon", folder=tmp_path / "rehearsal")]

    names = [case.name for case in cases]
    assert rehearsed()[: len(names)] == names
    folder = tmp_path / "rehearsal"
    judged = rehearsal_cases(model, new, modality="two_photon", folder=folder, held_out=[cases[0]])
    assert names[0] not in [case.name for case in judged]
    assert [case for case in judged if case.subject == cases[0].subject] == []
    assert len(rehearsed()) == MIN_CASES
    shutil.copyfile(cases[0].label, cases[1].label)  # changed since
    assert rehearsed()[0] == names[0]
    assert names[1] not in rehearsed()
    shutil.rmtree(own / "images")  # not there any more: synthetic stacks, the same ones each time
    assert rehearsed() == rehearsed()
    assert all(name.startswith("rehearsal_") for name in rehearsed())
    in_ct = rehearsal_cases(model, new, modality="ct_angiography", folder=tmp_path / "ct")
    assert len(in_ct) == MIN_CASES
    assert read_volume(in_ct[0].image).array.min() < 0, "Hounsfield units"


@pytest.mark.parametrize(
    ("new", "rehearsed", "times"), [(1, 8, (8, 1)), (3, 8, (3, 1)), (8, 8, (1, 1)), (16, 8, (1, 2)), (5, 0, (1, 1))]
)
def test_balanced__about_every_second_patch_is_from_a_new_case(new: int, rehearsed: int, times: tuple[int, int]) -> None:
    cases = [TrainingCase(Path(f"{n}.nii"), Path(f"{n}_label.nii"), str(n)) for n in range(new + rehearsed)]
    listed = balanced(cases[:new], cases[new:])
    assert [listed.count(case) for case in cases] == [times[0]] * new + [times[1]] * rehearsed


def test_rehearsal__a_record_of_other_weights_does_not_count(model: Path, dataset: Path, tmp_path: Path) -> None:
    write_training_data(model, read_dataset(dataset)["training"])
    record = weights_path(model).parent / "training_data.json"
    content = json.loads(record.read_text())
    shutil.copyfile(changed(model, tmp_path, "other"), weights_path(model))
    assert known_cases(model) == []
    assert content["cases"][0]["sha256"].keys() == {"image", "label"}


@pytest.mark.requirement("R17")
@pytest.mark.parametrize("judged_by", ["held out", "itself"])
def test_train_and_judge__publishes_or_keeps_and_says_why(model: Path, dataset: Path, tmp_path: Path, judged_by: str) -> None:
    sections = read_dataset(dataset)
    before = file_sha256(weights_path(model))
    result, promotion = train_and_judge(
        model,
        new=sections["training"],
        judged=sections["validation"] if judged_by == "held out" else [],
        output=tmp_path / "run",
        preset="tiny",
        overrides=SHORT,
    )
    assert promotion.before is not None
    assert result.held_out is (judged_by == "held out")
    published = file_sha256(weights_path(model)) != before
    assert published is promotion.promoted
    assert promotion.state.startswith("published" if published else "kept the published model: the new one")
    assert promotion.promoted is (promotion.gain > 0 and not promotion.losses)
    if published:
        assert {case.name for case in known_cases(model)} == {case.name for case in sections["training"]}
        roll_back(model)
        assert file_sha256(weights_path(model)) == before


def test_train_and_judge__weights_that_were_published_meanwhile_are_not_replaced(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = read_dataset(dataset)
    other = changed(model, tmp_path, "other")

    def choose(models: Any, *arguments: Any, **options: Any) -> Promotion:
        publish(other, model)  # an administrator, while the candidates are judged
        return Promotion(next(iter(models)), GateScores(1.0, 1.0, 1))

    monkeypatch.setattr(retrain, "choose_model", choose)
    with pytest.raises(ConflictError, match="were replaced meanwhile"):
        train_and_judge(model, new=sections["training"], judged=[], output=tmp_path / "run", preset="tiny", overrides=SHORT)
    assert file_sha256(weights_path(model)) == file_sha256(other)


def halves(case: TrainingCase, folder: Path) -> list[TrainingCase]:
    """Return a case twice, with the left and the right half reviewed."""
    label = read_volume(case.label, unit="um")
    parts = []
    for name, where in (("left", slice(0, label.shape[0] // 2)), ("right", slice(label.shape[0] // 2, None))):
        reviewed = np.zeros(label.shape, np.uint8)
        reviewed[where] = 1
        write_volume(label.with_array(reviewed), folder / f"{name}.nii.gz")
        parts.append(replace(case, reviewed=folder / f"{name}.nii.gz"))
    return parts


def test_train_and_judge__the_first_model_is_published_and_has_learned_whole_cases(
    segresnet: Path, dataset: Path, tmp_path: Path
) -> None:
    model = copy_bundle(segresnet, tmp_path / "first")
    sections = read_dataset(dataset)
    first, *others = sections["training"]
    _, promotion = train_and_judge(
        model, new=sections["training"], parts=[*halves(first, tmp_path), *others], judged=sections["validation"],
        output=tmp_path / "run", published=False, preset="tiny", overrides=SHORT,
    )  # fmt: skip
    assert promotion.promoted
    assert promotion.before is None
    assert known_cases(model) == sections["training"]
    assert np.isfinite(promotion.scores.dice)


def test_roll_back__never_publishes_what_a_killed_process_left_and_loses_nothing(model: Path, tmp_path: Path) -> None:
    first = file_sha256(weights_path(model))
    second = file_sha256(publish(changed(model, tmp_path, "next"), model))
    models = weights_path(model).parent
    (kept,) = (models / "previous").iterdir()
    for name in (".20991231T000000000000Z.abcdefgh", "29991231T000000000000Z"):  # killed while it copied; damaged since
        shutil.copytree(kept, models / "previous" / name)
        (models / "previous" / name / "model.safetensors").write_bytes(b"a part of it")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        roll_back(model)
    assert file_sha256(weights_path(model)) == second
    shutil.rmtree(models / "previous" / "29991231T000000000000Z")
    assert file_sha256(roll_back(model)) == first
    (withdrawn,) = (models / "withdrawn").iterdir()
    assert file_sha256(withdrawn / "model.safetensors") == second
