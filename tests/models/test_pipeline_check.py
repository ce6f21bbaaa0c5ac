"""A bundle is refused when prediction would do something else than the bundle states. Real bundles, real networks."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from minivess.cli.main import run
from minivess.errors import BundleError
from minivess.models import check_bundle, load_bundle, save_weights, weights_path
from minivess.volume import Volume

Config = dict[str, Any]


def volume() -> Volume:
    return Volume(np.random.default_rng(0).gamma(2.0, 200.0, (40, 36, 8)).astype(np.uint16), np.diag([1.0, 1.0, 5.0, 1.0]), "um")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def edit(bundle: Path, change: Callable[[Config, Config], object]) -> None:
    """Change inference.yaml and metadata.json, and save weights of the network that the result describes; it is not trained."""
    (bundle / "configs" / "train.yaml").unlink(missing_ok=True)
    inference, metadata = bundle / "configs" / "inference.yaml", bundle / "configs" / "metadata.json"
    contents = yaml.safe_load(inference.read_text()), json.loads(metadata.read_text())
    change(*contents)
    inference.write_text(yaml.safe_dump(contents[0], sort_keys=False))
    metadata.write_text(json.dumps(contents[1]))
    parser = ConfigParser()
    parser.read_config(str(inference))
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network_def"), weights_path(bundle), {})


def steps(inference: Config, key: str) -> list[Config]:
    return inference[key]["transforms"]


def output(metadata: Config) -> Config:
    return metadata["network_data_format"]["outputs"]["pred"]


def softmax(inference: Config, metadata: Config) -> None:
    """The norm of MONAI's model zoo: a channel each for background and vessel."""
    zoo = {"_target_": "monai.networks.nets.SegResNet", "in_channels": 1, "out_channels": 2, "init_filters": 8}
    inference["network_def"] = zoo
    inference["postprocessing"]["transforms"] = [
        {"_target_": "monai.transforms.Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "monai.transforms.AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "minivess.models.transforms.SaveVolumed", "keys": ["pred"], "output_dir": "@output_dir"},
    ]
    output(metadata).update(num_channels=2, channel_def={"0": "background", "1": "vessel"})


def softmax_steps_only(inference: Config, metadata: Config) -> None:
    softmax(inference, metadata)
    output(metadata).update(num_channels=1, channel_def={"0": "vessel"})


def scale_intensity(inference: Config, metadata: Config) -> None:
    steps(inference, "preprocessing")[1] = {"_target_": "monai.transforms.ScaleIntensityd", "keys": ["image"]}


def further_step(inference: Config, metadata: Config) -> None:
    spacing = {"_target_": "monai.transforms.Spacingd", "keys": ["image"], "pixdim": [1, 1, 1]}
    steps(inference, "preprocessing").append(spacing)


def other_modality_in_step(inference: Config, metadata: Config) -> None:
    steps(inference, "preprocessing")[1]["modality"] = "ct_angiography"


def other_threshold_in_step(inference: Config, metadata: Config) -> None:
    steps(inference, "postprocessing")[3]["threshold"] = 0.7


def largest_component(inference: Config, metadata: Config) -> None:
    keep = {"_target_": "monai.transforms.KeepLargestConnectedComponentd", "keys": ["pred"]}
    steps(inference, "postprocessing").insert(3, keep)


def swapped(inference: Config, metadata: Config) -> None:
    transforms = steps(inference, "postprocessing")
    transforms[0], transforms[1] = transforms[1], transforms[0]


def disabled(inference: Config, metadata: Config) -> None:
    steps(inference, "preprocessing")[1]["_disabled_"] = True


def no_compose(inference: Config, metadata: Config) -> None:
    inference["preprocessing"] = steps(inference, "preprocessing")


def simple_inferer(inference: Config, metadata: Config) -> None:
    inference["inferer"] = {"_target_": "monai.inferers.SimpleInferer"}


REFUSED: dict[str, tuple[Callable[[Config, Config], object], str]] = {
    "two channels with softmax": (softmax, r"num_channels is 2\. Allowed: 1, the logit of vessel.*softmax"),
    "softmax in postprocessing": (
        softmax_steps_only,
        r"postprocessing#transforms#0 is .*softmax=True.*Prediction runs .*sigmoid=True",
    ),
    "other preprocessing": (
        scale_intensity,
        r"preprocessing#transforms#1 is monai\.transforms\.ScaleIntensityd.*Normalise.*network",
    ),
    "a step more": (further_step, r"preprocessing#transforms#2 is .*Spacingd.*no further step"),
    "a step less": (lambda i, m: steps(i, "postprocessing").pop(), r"postprocessing#transforms#4 is missing"),
    "a step more, before the last": (largest_component, r"postprocessing#transforms#3 is .*KeepLargest"),
    "other order": (swapped, r"postprocessing#transforms#0 is .*SuppressSmall"),
    "a step that stock MONAI skips": (disabled, r"preprocessing#transforms#1 is .*_disabled_=True"),
    "no Compose": (no_compose, r"preprocessing is not monai\.transforms\.Compose"),
    "another modality in the step": (other_modality_in_step, r"preprocessing#transforms#1 is .*ct_angiography"),
    "another threshold in the step": (other_threshold_in_step, r"postprocessing#transforms#3 is .*threshold=0\.7"),
    "no sliding window": (simple_inferer, r"inferer is 'monai\.inferers\.SimpleInferer'.*SlidingWindowInferer"),
    "no modality": (lambda i, m: i.pop("modality"), "the key modality is missing"),
    "no threshold": (lambda i, m: i.pop("threshold"), "the key threshold is missing"),
    "unknown modality": (lambda i, m: i.update(modality="x_ray"), "modality is 'x_ray'. Allowed: two_photon, light_sheet"),
    "modality by expression": (lambda i, m: i.update(modality="$'two_' + 'photon'"), "Allowed: two_photon, light_sheet"),
    "threshold 1": (lambda i, m: i.update(threshold=1), "threshold is 1. Allowed: a number between 0 and 1, or 'expected_dice'"),
    "threshold null": (lambda i, m: i.update(threshold=None), "threshold is None. Allowed"),
    "no mass of a piece": (lambda i, m: i.update(min_piece_mass=-1), "min_piece_mass is -1. Allowed: a number of voxels"),
    "a mass without its step": (lambda i, m: steps(i, "postprocessing").pop(1), r"postprocessing#transforms#1 is .*CopyItemsd"),
    "a step without its mass": (lambda i, m: i.pop("min_piece_mass"), r"postprocessing#transforms#1 is .*SuppressSmall"),
    "unknown rule of threshold": (lambda i, m: i.update(threshold="otsu"), "threshold is 'otsu'. Allowed"),
    "another class": (
        lambda i, m: output(m).update(channel_def={"0": "tumour"}),
        r'channel_def is .*tumour.*Allowed: {"0": "vessel"}',
    ),
    "channels in another order": (
        lambda i, m: output(m).update(channel_def={"0": "vessel", "1": "background"}),
        "channel_def is .*background",
    ),
    "no channel_def": (lambda i, m: output(m).pop("channel_def"), "channel_def is missing"),
    "no outputs": (lambda i, m: m["network_data_format"].pop("outputs"), r"outputs\.pred\.num_channels is missing"),
    "two input channels": (
        lambda i, m: m["network_data_format"]["inputs"]["image"].update(num_channels=2),
        r"inputs\.image\.num_channels is 2\. Allowed: 1, the normalised image",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_check_and_load_refuse_the_same_bundles(copy: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    change, message = REFUSED[name]
    edit(copy, change)
    for use in (check_bundle, load_bundle):
        with pytest.raises(BundleError, match=message):
            use(copy)
    assert run(["bundle", "check", str(copy)]) == 1
    assert "BundleError" in capsys.readouterr().err


def reordered(inference: Config, metadata: Config) -> None:
    inference["preprocessing"] = {key: inference["preprocessing"][key] for key in ("transforms", "_target_")}
    inference["preprocessing"]["transforms"] = [dict(reversed(step.items())) for step in steps(inference, "preprocessing")]
    steps(inference, "postprocessing")[4]["keys"] = ["probability", "pred"]


def literal_values(inference: Config, metadata: Config) -> None:
    inference["threshold"] = 0.4
    steps(inference, "preprocessing")[1]["modality"] = "two_photon"
    steps(inference, "postprocessing")[3]["threshold"] = 0.4
    steps(inference, "postprocessing")[0]["keys"] = "pred"
    steps(inference, "postprocessing")[4]["output_dir"] = "$@bundle_root + '/results'"


def all_pieces(inference: Config, metadata: Config) -> None:
    """As in bundles that were made before small pieces were lowered."""
    del inference["min_piece_mass"]
    steps(inference, "postprocessing").pop(1)


def references(inference: Config, metadata: Config) -> None:
    inference["settings"] = {"kind": inference["modality"], "steps": steps(inference, "preprocessing"), "cut": [0.4]}
    inference["modality"] = "@settings#kind"
    inference["threshold"] = "@settings::cut::0"
    inference["preprocessing"]["transforms"] = "@settings#steps"
    inference["preprocessing"]["_desc_"] = "a comment"


def as_before(inference: Config, metadata: Config) -> None:
    """The metadata of bundles that were trained before channel_def was checked."""
    output(metadata)["channel_def"] = {"0": "background", "1": "vessel"}


def other_network(inference: Config, metadata: Config) -> None:
    inference["network_def"] = {
        "_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2],
    }  # fmt: skip


@pytest.mark.parametrize("change", [reordered, literal_values, all_pieces, references, as_before, other_network])
def test_check_load_and_predict_accept_the_same_pipeline(copy: Path, change: Callable[[Config, Config], object]) -> None:
    edit(copy, change)
    assert "configs/inference.yaml" in check_bundle(copy)
    prediction = load_bundle(copy, device="cpu").predict(volume())
    assert np.isfinite(prediction.probability.array).all()
    assert load_bundle(copy, device="cpu").capabilities.labels == ("vessel",)


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("out_channels", 2, r"returned \(\d+, 2, .*\) for windows of shape \(\d+, 1, .*one channel.*out_channels: 1"),
        ("in_channels", 2, r"takes 2 input channels\. Allowed: 1"),
    ],
)
def test_predict_refuses_a_network_that_contradicts_its_metadata(copy: Path, name: str, channels: int, message: str) -> None:
    edit(copy, lambda inference, metadata: inference["network_def"].update({name: channels}))
    check_bundle(copy)
    segmenter = load_bundle(copy, device="cpu")
    for roi in (None, (0, 20, 0, 20, 0, 8)):
        with pytest.raises(BundleError, match=message):
            segmenter.predict(volume(), roi=roi)


def test_predict_refuses_a_network_that_returns_no_tensor(copy: Path) -> None:
    vae = {"_target_": "monai.networks.nets.SegResNetVAE", "input_image_size": [32, 32, 8], "out_channels": 1, "init_filters": 8}

    def change(inference: Config, metadata: Config) -> None:
        inference.update(network_def=vae, roi_size=[32, 32, 8])

    edit(copy, change)
    with pytest.raises(BundleError, match="returned tuple for windows"):
        load_bundle(copy, device="cpu").predict(volume())


def test_predict_passes_on_other_errors_of_the_network(copy: Path) -> None:
    edit(copy, other_network)
    edit(copy, lambda inference, metadata: inference["network_def"].update(channels=[4, 8, 16], strides=[2, 2]))
    edit(copy, lambda inference, metadata: inference.update(roi_size=[30, 30, 6]))
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        load_bundle(copy, device="cpu").predict(volume())


def test_metadata_of_the_shipped_bundle_state_the_range_of_each_modality(segresnet: Path) -> None:
    from minivess.models import MODALITIES
    from minivess.models.normalise import LocalContrast

    metadata = json.loads((segresnet / "configs" / "metadata.json").read_text())
    text = metadata["image_classes"]
    assert metadata["network_data_format"]["inputs"]["image"]["value_range"] == []  # unknown, since local contrast has no bounds
    for modality, rule in MODALITIES.items():
        assert modality in text
        assert isinstance(rule, LocalContrast) == (text.index(modality) < text.index("no fixed bounds"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["network_def"].update(init_filters=6), "network_def is not that of inference.yaml"),
        (lambda t: t.update(modality="tof_mra"), "modality is not that of inference.yaml: 'tof_mra' against 'two_photon'"),
        (lambda t: t.update(spacing_um=[1.0, 1.0, 3.0]), "spacing_um is not that of inference.yaml"),
        (lambda t: t["train"]["preprocessing"]["transforms"].pop(1), "train#preprocessing has no NormaliseIntensityd"),
        (lambda t: t["validate"]["preprocessing"]["transforms"].pop(1), "validate#preprocessing has no NormaliseIntensityd"),
    ],
)
def test_a_bundle_that_is_trained_on_other_input_than_it_predicts_with_is_refused(
    segresnet: Path, tmp_path: Path, change: Callable[[Config], object], words: str
) -> None:
    copy = Path(shutil.copytree(segresnet, tmp_path / "bundle"))
    check_bundle(copy)
    file = copy / "configs" / "train.yaml"
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(BundleError, match=re.escape(words)):
        check_bundle(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("roi_size", wrong) for wrong in (64, [64, 64], [-1, -1, 8], [0, 64, 8], [64.0, 64, 8])),
        *(("overlap", wrong) for wrong in (1.0, -0.1, "a lot")),
    ],
)
def test_a_window_that_cannot_slide_is_refused(segresnet: Path, tmp_path: Path, key: str, value: object) -> None:
    copy = Path(shutil.copytree(segresnet, tmp_path / "bundle"))
    file = copy / "configs" / "inference.yaml"
    content = yaml.safe_load(file.read_text())
    content["inferer"][key] = value
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(BundleError, match=f"the {key} of the inferer is"):
        check_bundle(copy)
