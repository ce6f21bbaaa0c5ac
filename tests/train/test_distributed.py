"""Several processes train one network, started by torchrun as on several GPUs; here on the CPU."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_bundles import BUNDLES, small_bundle

from minivess.models import load_bundle, weights_path
from minivess.train import presets, publish

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "name",
    ["segresnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vista3d", "sam3_lora", "vessap", "litemedsam"))],
)
def test_all_processes_learn_one_network_from_other_patches(name: str, dataset: Path, tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / name, tmp_path / name, weights=False)
    done = torchrun(HERE / "one_of_several.py", bundle, dataset, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall(r"rank (\d) of 2: (\w+) (\w+)", done.stdout)
    assert sorted(rank for rank, *_ in found) == ["0", "1"]
    ((before, after),) = {(before, after) for _, before, after in found}  # one network, before and after
    assert before != after


def test_the_documented_command_trains_and_goes_on_with_one_process(dataset: Path, tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / "segresnet", tmp_path / "segresnet", weights=False)
    configs = [str(bundle / "configs" / f"{name}.yaml") for name in ("train", "tiny", "multi_gpu")]
    options = ["--bundle_root", bundle, "--dataset_dir", dataset, "--output_dir", tmp_path / "run", "--iterations_per_epoch", 1]
    options += ["--items_per_batch", 1, "--patch_size", "[32, 32, 8]", "--val_interval", 1]
    done = torchrun("-m", "monai.bundle", "run", "--config_file", str(configs), *options, "--epochs", 1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("train: epoch 1/1") == 1, "one process reports"
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1"]
    one = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs[:2]), *map(str, options), "--epochs", "2"]
    resumed = subprocess.run(one, capture_output=True, text=True, check=False)
    assert "resumed after epoch 1" in resumed.stderr
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1", "2"]
    publish(weights_path(tmp_path / "run").parent.parent / "model.safetensors", bundle)
    assert all(torch.isfinite(value).all() for value in load_bundle(bundle)._network.state_dict().values())


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_without_torchrun_it_says_how(segresnet: Path, dataset: Path, tmp_path: Path) -> None:
    configs = [str(segresnet / "configs" / f"{name}.yaml") for name in ("train", "multi_gpu")]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(configs), "--dataset_dir", str(dataset)]
    done = subprocess.run([*command, "--output_dir", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "torchrun --standalone --nproc_per_node GPUS" in done.stderr
    assert "multi_gpu" not in presets(segresnet), "minivess train starts one process"
