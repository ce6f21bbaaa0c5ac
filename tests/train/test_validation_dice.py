"""The checkpoint is chosen by the Dice that ``minivess evaluate`` reports; a training may be resumed with more epochs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from minivess.cli.main import run
from minivess.datasets import make_dataset
from minivess.errors import InputError
from minivess.metrics import dsc
from minivess.review.zones import candidate_threshold_for
from minivess.train.handlers import ValidationDice
from minivess.uncertainty import Zones
from minivess.uncertainty.conformal import LEVELS, Curve, control_risk
from minivess.volume import Volume, write_volume


@pytest.mark.row(82)
def test_validation_dice__counts_cases_without_vessel() -> None:
    vessel = torch.zeros(1, 16, 16, 8)
    vessel[:, 4:8] = 1
    empty, full = torch.zeros_like(vessel), torch.ones_like(vessel)
    for pairs in ([(empty, empty)], [(vessel, vessel), (full, empty)], [(vessel, vessel), (empty, empty)]):
        engine = Engine(lambda _, batch: batch)
        ValidationDice().attach(engine, "val_dice")
        engine.run([[{"pred": p, "label": t}] for p, t in pairs], max_epochs=1)
        assert engine.state.metrics["val_dice"] == pytest.approx(np.mean([dsc(t[0].numpy(), p[0].numpy()) for p, t in pairs]))


@pytest.mark.row(83)
def test_zones__are_ordered_by_construction_and_the_queue_is_never_blind() -> None:
    sure = [Curve(f"m{n}", np.zeros(LEVELS.size)) for n in range(20)]  # every vessel voxel has probability 1
    zones = control_risk(sure, 0.1, upper=0.3)
    assert (zones.lower, zones.upper) == (0.3, 0.3)
    assert candidate_threshold_for(lambda _: zones, "") <= 0.12
    with pytest.raises(InputError, match="lower <= upper"):
        Zones(0.6, 0.3, 0.1, 20, "voxels")


@pytest.mark.row(84)
def test_train__resumes_with_more_epochs(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(3):
        mask = np.zeros((32, 32, 8), np.uint8)
        mask[6 + 3 * n : 10 + 3 * n] = 1
        noise = np.random.default_rng(n).normal(100, 10, mask.shape)
        volume = Volume((noise + 200 * mask).astype(np.uint16), np.diag([1.0, 1.0, 5.0, 1.0]), "um")
        write_volume(volume, tmp_path / "data" / "images" / f"s{n}.nii.gz")
        write_volume(volume.with_array(mask), tmp_path / "data" / "labels" / f"s{n}.nii.gz")
    make_dataset(tmp_path / "data", validation=["s2"])
    out = ["train", str(tmp_path / "data"), "--bundle", str(bundle), "--out", str(tmp_path / "model")]
    assert run([*out, "--epochs", "1"]) == 0
    assert run([*out, "--epochs", "2", "--resume"]) == 0, capsys.readouterr().err
    with (tmp_path / "model" / "runs" / "train" / "log.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2"]
