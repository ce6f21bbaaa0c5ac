"""One training command makes a model a fold and seed, scores each on unseen subjects, and combines all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from minivess.cli.main import run
from minivess.datasets import TrainingCase
from minivess.ensemble.train_members import folds_by_subject
from minivess.errors import InputError
from minivess.models import load_bundle, read_metadata, weights_path
from minivess.process_lock import ProcessLock
from minivess.track import Spool
from minivess.train import copy_bundle
from minivess.volume import read_volume


def cases(subjects: str) -> list[TrainingCase]:
    return [TrainingCase(Path(f"{n}.nii"), Path(f"label{n}.nii"), subject) for n, subject in enumerate(subjects)]


def test_each_subject_is_held_out_once() -> None:
    folds = folds_by_subject(cases("aabbcde"), 3)
    held_out = [{case.subject for case in fold[1]} for fold in folds]
    assert sorted(subject for subjects in held_out for subject in subjects) == list("abcde")
    for training, judged in folds:
        assert not {case.subject for case in training} & {case.subject for case in judged}
        assert len(training) + len(judged) == 7
    assert max(len(judged) for _, judged in folds) - min(len(judged) for _, judged in folds) <= 1
    with pytest.raises(InputError, match="allowed are 2 to the number of subjects, here 5"):
        folds_by_subject(cases("aabbcde"), 6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "data"
    assert run(["synth", "make", str(folder), "--count", "3", "--shape", "32", "32", "8"]) == 0
    return folder


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, segresnet: Path) -> str:
    """The bundle, with trainings of one step."""
    bundle = copy_bundle(segresnet, tmp_path_factory.mktemp("quick") / "segresnet")
    file = bundle / "configs" / "tiny.yaml"
    short = {"epochs": 1, "iterations_per_epoch": 1, "items_per_batch": 1, "patch_size": [16, 16, 8]}
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | short))
    return str(bundle)


def test_folds_seeds_and_search_in_one_command__resumed_after_a_lost_model(
    data: Path, quick: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models"
    command = ["train", str(data), "--out", str(out), "--bundle", quick, "--folds", "3", "--tune", "2", "--json"]
    assert run(command) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert "model 3 of 3, fold3_seed0" in captured.err
    assert [Path(member).name for member in answer["members"]] == ["fold1_seed0", "fold2_seed0", "fold3_seed0"]
    assert answer == json.loads((out / "held_out.json").read_text())
    assert answer["held_out"]["dice"]["subjects"] == 3
    assert answer["held_out_also_chose"] == ["settings (those of the first fold)"]
    assert answer["settings"].keys() >= {"learning_rate", "vessel_share"}
    for row, member in zip(answer["scores"], answer["members"], strict=True):
        metadata = read_metadata(weights_path(Path(member)))
        assert row["subject"] not in json.loads(metadata["training_subjects"])
        assert json.loads(metadata["tuned"])["trials"] == 2
        assert float(metadata["val_dice"]) == pytest.approx(row["dice"], abs=2e-3)
    image = read_volume(next((data / "images").glob("*")))
    assert load_bundle(out / "ensemble").predict(image).mask.same_grid(image)

    kept = [Path(member) / "models" / "model.safetensors" for member in answer["members"]]
    before = [file.stat().st_mtime_ns for file in kept]
    (out / "runs" / "fold2_seed0" / "scores.json").unlink()  # as a kill after the training leaves it
    assert run([*command, "--resume"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"] == answer["scores"]
    assert (out / "runs" / "fold2_seed0" / "scores.json").is_file(), "what was lost is made again"
    assert [file.stat().st_mtime_ns for file in kept] == before, "the same weights are not published again"
    # A model of another split would be scored on what it has learned; one of another bundle would be mixed in.
    for changed, words in ((["--folds", "2"], "cases"), (["--tune", "3"], "tune"), (["--modality", "light_sheet"], "bundle")):
        assert run([*command, "--resume", *changed]) == 1
        assert f"have other {words}. Go on with the command that they were started with" in capsys.readouterr().err
    assert run(command) == 1
    assert "already contains a training. Continue it: --resume" in capsys.readouterr().err


def test_seeds_alone_share_the_held_out_cases__and_each_is_left_for_mlflow(
    data: Path, quick: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MINIVESS_SPOOL", str(tmp_path / "spool"))
    out = tmp_path / "models"
    assert run(["train", str(data), "--out", str(out), "--bundle", quick, "--seeds", "2", "--seed", "5", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in answer["scores"]] == ["seed5", "seed6"]
    assert answer["held_out_also_chose"] == ["checkpoints"]
    assert len({row["case"] for row in answer["scores"]}) == 1
    first, second = (Path(member) / "models" / "model.safetensors" for member in answer["members"])
    assert first.read_bytes() != second.read_bytes()
    entries = [entry for _, entry in Spool(tmp_path / "spool").entries()]
    assert [(Path(entry["bundle"]).name, entry["params"]["seed"]) for entry in entries] == [("seed5", "5"), ("seed6", "6")]
    assert [entry["scores"]["dice"] for entry in entries] == [row["dice"] for row in answer["scores"]]
    assert {(entry["group"], entry["published"]) for entry in entries} == {("models", False)}
    assert [len(entry["cases"]["validation"]) for entry in entries] == [1, 1]


def test_weights_that_have_learned_what_is_held_out_are_refused(
    data: Path, quick: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(data), "--out", str(tmp_path / "a"), "--bundle", quick]) == 0
    init = weights_path(tmp_path / "a")
    capsys.readouterr()
    command = ["train", str(data), "--out", str(tmp_path / "b"), "--bundle", quick]
    assert run([*command, "--init", str(init), "--folds", "3"]) == 1
    assert "The model of --init has learned capillary_0000, capillary_0001" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert run([*command, "--init", str(init)]) == 0, "the held-out subject is the same"


def test_one_process_trains_in_a_folder_and_a_refused_command_leaves_none_behind(
    data: Path, quick: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(data), "--out", str(tmp_path / "m"), "--bundle", quick, "--folds", "3"]
    for wrong, words in ((["--preset", "fulll"], "Unknown preset"), (["--modality", "x_ray"], "Unknown modality")):
        assert run([*command, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
    (tmp_path / "m" / "runs").mkdir(parents=True)
    other = ProcessLock(tmp_path / "m" / "runs" / "lock")
    assert other.take(exclusive=True)
    assert run(command) == 1
    assert "Another process trains in" in capsys.readouterr().err
    other.release()
    assert run(command) == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--folds", "9"], 1, "allowed are 2 to the number of subjects, here 3"),
        (["--from", "MODEL", "--seeds", "2"], 2, "Remove --folds, --seeds and --tune"),
        (["--from", "MODEL", "--tune", "2"], 2, "Remove --folds, --seeds and --tune"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    assert run(["train", str(data), "--out", str(tmp_path / "m"), *options]) == code
    assert words in capsys.readouterr().err
