"""What a training's statistics say after a model was taken back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.torch import save_file

from minivess.models import weights_path
from minivess.models.weights import read_weights
from minivess.paths import write_json
from minivess.train import publish, roll_back

pytest.importorskip("monailabel")

from minivess.label_app.settings import AppSettings
from minivess.label_app.train_task import VesselTrainTask


@pytest.fixture
def task(bundle: Path, tmp_path: Path) -> VesselTrainTask:
    settings = AppSettings.from_conf(
        str(tmp_path), {"model_dir": str(tmp_path / "model"), "bundle": str(bundle), "preset": "tiny"}
    )
    return VesselTrainTask(settings.prepare_bundle(), settings)


def test_before_anything_was_published_there_is_nothing_to_go_back_to(task: VesselTrainTask) -> None:
    assert task.stats() == {}


def test_earlier_models_are_counted(task: VesselTrainTask, bundle: Path, tmp_path: Path) -> None:
    weights = read_weights(weights_path(bundle))[0]
    other = tmp_path / "other.safetensors"
    save_file({name: value + 1 if value.is_floating_point() else value for name, value in weights.items()}, other)
    publish(other, task.bundle)
    assert task.stats() == {"earlier_models": 1}
    roll_back(task.bundle)
    task.note_roll_back("ada")
    found = task.stats()
    assert (found["state"], found["by"]) == ("rolled back", "ada")
    assert "earlier_models" not in found


def test_going_back_keeps_the_progress_of_a_running_training(task: VesselTrainTask) -> None:
    write_json(task.stats_file, {"state": "running", "pid": os.getpid(), "start_ts": 1, "epoch": 3})
    task.note_roll_back("ada")
    assert (task.stats()["state"], task.stats()["epoch"]) == ("running", 3)
