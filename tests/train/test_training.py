"""Training through the library and through stock ``python -m monai.bundle``, on four tiny stacks."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from small_bundles import BUNDLES, shipped, small_bundle
from waiting import wait_until

from minivess.datasets import TrainingCase, read_dataset
from minivess.datasets.dataset import UNREVIEWED
from minivess.ensemble import write_ensemble
from minivess.errors import BundleError, InputError
from minivess.metrics import dsc
from minivess.models import load_bundle, read_metadata, weights_path
from minivess.synth import make_sample
from minivess.train import copy_bundle, presets, publish, train_bundle
from minivess.train.loss import VesselLoss
from minivess.train.transforms import LeaveOutUnreviewedd, LoadPaird, VesselCentresd, VesselPatchesd
from minivess.volume import read_volume, write_volume

SHORT = {"epochs": 2, "iterations_per_epoch": 2, "val_interval": 1, "patch_size": [32, 32, 8], "items_per_batch": 1}


def test_a_training_gives_weights_that_predict(segresnet: Path, dataset: Path, tmp_path: Path) -> None:
    sections = read_dataset(dataset)
    bundle = copy_bundle(segresnet, tmp_path / "model")
    result = train_bundle(
        bundle,
        training=sections["training"],
        validation=sections["validation"],
        output=tmp_path / "run",
        preset="tiny",
        overrides={**SHORT, "notes": {"who": "test"}},
    )
    assert result.held_out
    publish(result.weights, bundle)
    notes = read_metadata(weights_path(bundle))
    assert notes["who"] == "test"
    case = sections["validation"][0]
    mask = load_bundle(bundle, device="cpu").predict(read_volume(case.image)).mask
    # What training scored is what prediction gives: one pipeline, not two.
    assert dsc(read_volume(case.label).array, mask.array) == pytest.approx(result.validation_dice, abs=2e-3)
    with (tmp_path / "run" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_names_with_a_number_sign_stay_as_they_are(segresnet: Path, tmp_path: Path) -> None:
    sample = make_sample("capillary", 0, shape=(48, 48, 8))
    folder = tmp_path / "lab #2"
    files = [
        write_volume(volume, folder / f"{name}#1.nii.gz") for name, volume in (("image", sample.image), ("mask", sample.mask))
    ]
    bundle = copy_bundle(segresnet, folder / "model")
    case = TrainingCase(files[0], files[1], "mouse#1")
    result = train_bundle(
        bundle, training=[case], validation=[], output=folder / "run", preset="tiny", overrides={**SHORT, "notes": {"by": "a#b"}}
    )
    notes = read_metadata(result.weights)
    assert json.loads(notes["training_subjects"]) == ["mouse#1"]
    assert notes["by"] == "a#b"
    publish(result.weights, bundle)
    ensemble = write_ensemble([bundle, bundle], folder / "ensemble")
    assert load_bundle(ensemble, device="cpu").predict(sample.image).mask.shape == sample.image.shape


def test_without_validation_the_result_says_so(segresnet: Path, dataset: Path, tmp_path: Path) -> None:
    training = read_dataset(dataset)["training"][:1]
    result = train_bundle(
        segresnet,
        training=training,
        validation=[],
        output=tmp_path,
        preset="tiny",
        overrides={**SHORT, "epochs": 1, "val_interval": 5},
    )
    assert not result.held_out


def test_what_cannot_be_trained_is_refused(segresnet: Path, dataset: Path, tmp_path: Path) -> None:
    training = read_dataset(dataset)["training"]
    assert presets(segresnet) == ["full", "tiny"]
    with pytest.raises(InputError, match="at least one labelled case"):
        train_bundle(segresnet, training=[], validation=[], output=tmp_path)
    with pytest.raises(InputError, match="Allowed: full, tiny"):
        train_bundle(segresnet, training=training, validation=[], output=tmp_path, preset="huge")
    with pytest.raises(BundleError, match="must not begin"):
        train_bundle(segresnet, training=training, validation=[], output=tmp_path, overrides={"device": "$__import__('os')"})


def monai_bundle(command: str, segresnet: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "monai.bundle", command, "--bundle_root", str(segresnet), *arguments]


def train_command(segresnet: Path, dataset: Path, output: Path, *arguments: str) -> list[str]:
    configs = [str(segresnet / "configs" / name) for name in ("train.yaml", "tiny.yaml")]
    return monai_bundle(
        "run", segresnet, "--config_file", str(configs), "--meta_file", str(segresnet / "configs" / "metadata.json"),
        "--dataset_dir", str(dataset), "--output_dir", str(output), "--patch_size", "[32,32,8]", "--items_per_batch", "1",
        "--iterations_per_epoch", "2", "--val_interval", "1", *arguments,
    )  # fmt: skip


def epochs_in(log: Path) -> list[int]:
    if not log.is_file():
        return []
    with log.open() as stream:
        return [int(row["epoch"]) for row in csv.DictReader(stream)]


def test_stock_monai_bundle_trains_is_killed_and_goes_on(segresnet: Path, dataset: Path, tmp_path: Path) -> None:
    command = train_command(segresnet, dataset, tmp_path, "--epochs", "40")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(epochs_in(tmp_path / "log.csv")) >= 2 or process.poll() is not None)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    killed_at = epochs_in(tmp_path / "log.csv")[-1]
    assert 2 <= killed_at < 40
    resumed_from = torch.load(tmp_path / "resume.pt", weights_only=True)["place"]["epoch"]
    last = resumed_from + 2
    command[-1] = str(last)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"resumed after epoch {resumed_from}" in done.stderr
    assert epochs_in(tmp_path / "log.csv")[-1] == last
    assert weights_path(tmp_path).name in {f.name for f in tmp_path.iterdir()}


def test_stock_monai_bundle_predicts_what_the_segmenter_predicts(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    command = monai_bundle(
        "run", bundle, "--config_file", str(bundle / "configs" / "inference.yaml"), "--meta_file",
        str(bundle / "configs" / "metadata.json"), "--dataset_dir", str(dataset / "images"), "--output_dir", str(tmp_path),
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    segmenter = load_bundle(bundle, device="cpu")
    for image in (dataset / "images").iterdir():
        name = image.name.split(".")[0]
        prediction = segmenter.predict(read_volume(image))
        stock = read_volume(tmp_path / f"{name}_probability.nii.gz")
        assert stock.same_grid(prediction.probability)
        assert np.abs(stock.array - prediction.probability.array).max() < 1e-4
        assert np.array_equal(read_volume(tmp_path / f"{name}_pred.nii.gz").array, prediction.mask.array)


def test_stock_monai_bundle_evaluates(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    configs = [str(bundle / "configs" / name) for name in ("train.yaml", "evaluate.yaml")]
    command = monai_bundle(
        "run", bundle, "--config_file", str(configs), "--meta_file", str(bundle / "configs" / "metadata.json"),
        "--dataset_dir", str(dataset), "--output_dir", str(tmp_path),
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["stack3.nii.gz"]
    case = read_dataset(dataset)["test"][0]
    mask = load_bundle(bundle, device="cpu").predict(read_volume(case.image)).mask
    assert float(rows[0]["dsc"]) == pytest.approx(dsc(read_volume(case.label).array, mask.array), abs=1e-4)


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("command", ["verify_metadata", "verify_net_in_out"])
def test_every_bundle_passes_monais_own_checks(tmp_path: Path, command: str, name: str) -> None:
    bundle = small_bundle(BUNDLES / name, tmp_path / name, weights=False)
    metadata = str(bundle / "configs" / "metadata.json")
    if command == "verify_metadata":
        schema = Path(__file__).parents[1] / "data" / "meta_schema.json"
        arguments = ["--meta_file", metadata, "--filepath", str(schema)]
    else:
        arguments = [
            "--net_id",
            "network_def",
            "--meta_file",
            metadata,
            "--config_file",
            str(bundle / "configs" / "inference.yaml"),
            "--bundle_root",
            str(bundle),
        ]
    words = [sys.executable, "-m", "monai.bundle", command, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_patches_are_vessel_centred_and_aligned() -> None:
    label = torch.zeros(1, 60, 50, 9)
    label[:, 20:23, :, 4] = 1
    item = VesselCentresd(keys=["label"])({"label": label, "image": MetaTensor(label * 5)})
    transform = VesselPatchesd(["image", "label"], "label", (24, 24, 6), num_samples=40, vessel_share=1.0, scale_range=(0.4, 1.5))
    transform.set_random_state(0)
    patches = transform(item)
    assert {tuple(p[k].shape) for p in patches for k in ("image", "label")} == {(1, 24, 24, 6)}
    assert sum(bool(p["label"].any()) for p in patches) >= 36
    for patch in patches:
        assert set(patch["label"].unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(patch["label"] > 0, patch["image"] / 5 > 0.5)


def test_patches_of_an_empty_label_are_anywhere() -> None:
    item = VesselCentresd(keys=["label"])({"label": torch.zeros(1, 9, 9, 3), "image": torch.ones(1, 9, 9, 3)})
    patches = VesselPatchesd(["image", "label"], "label", (16, 16, 8))(item)
    assert all(p["image"].min() == 1 for p in patches)


def test_the_loss_falls_with_agreement() -> None:
    target = torch.zeros(1, 1, 16, 16, 8)
    target[..., 6:9, :, 3:5] = 1
    right, wrong = 8 * (2 * target - 1), -8 * (2 * target - 1)
    for loss in (VesselLoss(0.0), VesselLoss(0.3)):
        assert loss(right, target) < 0.1 < 1.0 < loss(wrong, target)
    logits = torch.zeros_like(target, requires_grad=True)
    VesselLoss(0.3)(logits, target).backward()
    assert torch.isfinite(logits.grad).all()


def test_what_nobody_has_looked_at_counts_in_no_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(2, 1, 16, 16, 8, generator=generator) > 0.7).float()
    target[..., 8:, :, :] = UNREVIEWED
    logits = torch.randn(target.shape, generator=generator).requires_grad_()
    loss = VesselLoss(0.3)(logits, target)
    loss.backward()
    assert (logits.grad[target < 0] == 0).all()
    assert (logits.grad[target >= 0] != 0).any()
    other = torch.where(target < 0, 5.0, logits.detach())
    assert torch.equal(VesselLoss(0.3)(other, target), loss.detach())


def test_patches_and_scores_of_a_partly_reviewed_stack_keep_to_what_was_reviewed(tmp_path: Path) -> None:
    sample = make_sample("capillary", 3, shape=(48, 40, 8))
    reviewed = np.zeros(sample.image.shape, np.uint8)
    reviewed[30:, 20:, 2:6] = 1
    wrong = sample.mask.with_array(np.where(reviewed, sample.mask.array, 1 - sample.mask.array).astype(np.uint8))
    for name, volume in (("image", sample.image), ("label", wrong), ("reviewed", wrong.with_array(reviewed))):
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    case = TrainingCase(
        *(tmp_path / f"{n}.nii.gz" for n in ("image", "label")), "s", unit="um", reviewed=tmp_path / "reviewed.nii.gz"
    )
    item = LoadPaird()(case.to_item())
    known = item["label"][0].numpy() >= 0
    np.testing.assert_array_equal(known, reviewed > 0)
    np.testing.assert_array_equal(item["label"][0].numpy()[known], sample.mask.array[known])
    item = VesselCentresd(keys=["label"])(item)
    assert len(item["label_centres"]) > 0
    assert all(reviewed[tuple(c)] for c in item["label_centres"][:, :3].astype(int))
    assert all(reviewed[tuple(c)] for c in item["label_reviewed"])
    cut = VesselPatchesd(["image", "label"], "label", (16, 16, 8), num_samples=12)
    cut.set_random_state(0)
    for patch in cut(item):
        assert set(patch["label"].unique().tolist()) <= {-1.0, 0.0, 1.0}
        assert (patch["label"] >= 0).any()
    pred = torch.ones_like(item["label"])
    blank = LeaveOutUnreviewedd(["pred", "label"], "label")({"pred": pred, "label": item["label"]})
    assert blank["pred"].sum() == reviewed.sum()
    assert blank["label"].sum() == sample.mask.array[known].sum()
