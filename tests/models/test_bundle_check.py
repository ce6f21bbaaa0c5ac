from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from minivess.errors import BundleError, MinivessError
from minivess.models import check_bundle, check_overrides, load_bundle
from minivess.models.bundle_check import check_config, read_config


def test_the_shipped_bundle_is_only_data(segresnet: Path) -> None:
    assert "configs/train.yaml" in check_bundle(segresnet)


def test_training_and_inference_build_the_same_network(segresnet: Path) -> None:
    train, inference = (read_config(segresnet / "configs" / f"{name}.yaml") for name in ("train", "inference"))
    for key in ("network_def", "modality", "roi_size", "threshold"):
        assert train[key] == inference[key]
    assert train["validate"]["inferer"] == {**inference["inferer"], "overlap": inference["overlap"]}


@pytest.mark.requirement("R07")
@pytest.mark.parametrize(
    "value",
    [
        "$import os",
        "$__import__('os').system('touch SENTINEL')",
        "$(lambda: 1)()",
        "$@network.__class__.__mro__",
        "$open('/etc/passwd').read()",
        "$[x for x in (1,)]",
        "$@network_def.to(@device).eval().cuda().system('x')",
        "$exec('1')",
        "$getattr(@network, 'x')",
        "$f'{@network}'",
        "%../../secret.yaml",
        "$",
        "$@a; import os",
        "$@network.run(1)",
        "$x := 1",
    ],
)
def test_an_expression_beyond_the_grammar_is_refused(value: str) -> None:
    findings = check_config({"outer": [{"inner": value}]})
    assert findings
    assert findings[0].startswith("outer#0#inner")


@pytest.mark.parametrize(
    "value",
    [
        "$@network_def.to(@device)",
        "$@network.parameters()",
        "$@bundle_root + '/models'",
        "$@epochs * @iterations_per_epoch + 1",
        "$@device.type == 'cuda'",
        "$len(@train#dataset) // 2",
        "$@train#trainer.run()",
        "@validate#evaluator",
        "plain words with $ and % inside",
    ],
)
def test_what_a_configuration_needs_is_allowed(value: str) -> None:
    assert check_config({"key": value}) == []


@pytest.mark.parametrize(
    "target",
    [
        "monai.data.utils.os.system",
        "minivess.train.run.shutil.rmtree",
        "monai.transforms.LoadImage",
        "monai.data.nothing_of_the_kind",
        "minivess.models.bundle.torch.load",
        "minivess.train.run.Path",
"os.system", "subprocess.run", "builtins.eval", "monai.bundle.run", "monai.transforms.Lambdad", "minivess.cli.main.run", "SegResNet",
     "monai.networks._private.x", "monai.apps.utils.download_and_extract", "torch.load"],
)  # fmt: skip
def test_a_target_outside_the_list_is_refused(target: str) -> None:
    assert check_config({"network_def": {"_target_": target}})


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("monai.networks.nets.SegResNett", "monai.networks.nets has no SegResNett"),
        ("monai.networks.nowhere.SegResNet", "cannot be imported here: No module named"),
    ],
)
def test_a_target_that_is_not_there_is_not_called_forbidden(target: str, words: str) -> None:
    (finding,) = check_config({"network_def": {"_target_": target}})
    assert words in finding
    assert "not allowed" not in finding


@pytest.mark.parametrize(
    "target",
    [
        "minivess.models.weights.write_weights",
        "minivess.train.publishing.roll_back",
        "minivess.train.publishing.publish",
        "minivess.train.copy_bundle",
        "minivess.models.feature_cache.FeatureCache",
        "monai.data.PersistentDataset",
        "monai.data.CacheNTransDataset",
        "monai.data.LMDBDataset",
        "monai.data.NPZDictItemDataset",
        "monai.transforms.io.array.NumpyReader",
        "monai.transforms.LoadImageD",
        "monai.transforms.LoadImageDict",
        "monai.transforms.RandLambdaD",
        "monai.transforms.WriteFileMappingDict",
        "monai.handlers.CheckpointLoader",
        "ignite.handlers.DiskSaver",
        "monai.losses.PerceptualLoss",
        "monai.networks.nets.Transchex",
        "monai.networks.utils.copy_model_state",
    ],
)
def test_what_would_write_download_or_read_a_pickle_is_refused(target: str) -> None:
    (finding,) = check_config({"network_def": {"_target_": target}})
    assert "not allowed" in finding


@pytest.mark.requirement("R07")
@pytest.mark.parametrize("separator", ["#", "::"])
@pytest.mark.parametrize("key", ["trap{}_target_", "deep{0}er{0}_target_", "+trap{}_target_"])
def test_a_target_at_the_end_of_a_path_is_a_target(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = broken(bundle, tmp_path)
    config = yaml.safe_load((copy / "configs" / "inference.yaml").read_text())
    config |= {"trap": {"command": "touch SENTINEL"}, key.format(separator): "os.system", "network_def": "@trap"}
    assert any("os.system" in finding for finding in check_config(config))
    (copy / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(BundleError, match="is a path: write nested keys"):
        load_bundle(copy)
    assert not (tmp_path / "SENTINEL").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"_target_": {"_target_": "monai.networks.nets.SegResNet", "_mode_": "callable"}},
        {"_target_": ["monai.networks.nets.SegResNet"], "_debug_": True},
        {"_target_": "monai.networks.nets.DenseNet121", "pretrained": True},
        {"_target_": "monai.networks.nets.HoVerNet", "pretrained_url": "http://example.org/weights.pth"},
        {"_target_": "monai.data.Dataset", "weights_only": False},
        {"_target_": "monai.data.Dataset", "allow_pickle": True},
        {"_target_": "monai.networks.nets.EfficientNetBN", "model_name": "efficientnet-b0"},
        {"_target_": "monai.networks.nets.MILModel", "num_classes": 1},
        {"_target_": "monai.networks.nets.TorchVisionFCModel", "weights": "DEFAULT"},
        {"_target_": "monai.losses.perceptual.MedicalNetPerceptualSimilarity"},
    ],
)
def test_keys_that_would_change_what_is_built_are_refused(content: dict[str, Any]) -> None:
    assert check_config({"network_def": content})


@pytest.mark.parametrize(
    "content",
    [
        {"_target_": "monai.networks.nets.EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": False},
        {"_target_": "monai.data.Dataset", "weights_only": True},
        {"_target_": "monai.data.Dataset", "reader": None},
    ],
)
def test_what_downloads_nothing_is_allowed(content: dict[str, Any]) -> None:
    assert check_config({"network_def": content}) == []


def test_a_circle_of_references_is_a_finding_and_no_crash(bundle: Path, tmp_path: Path) -> None:
    copy = broken(bundle, tmp_path)
    for name in ("train.yaml", "inference.yaml"):
        file = copy / "configs" / name
        config = yaml.safe_load(file.read_text())
        config |= {"network_def": "@circle", "circle": {"a": "@circle"}}
        file.write_text(yaml.safe_dump(config))
    with pytest.raises((BundleError, RuntimeError, ValueError)):
        load_bundle(copy)


def test_references_that_multiply_are_checked_at_once(segresnet: Path, tmp_path: Path) -> None:
    copy = broken(segresnet, tmp_path)
    file = copy / "configs" / "train.yaml"
    config = yaml.safe_load(file.read_text())
    config |= {f"a{n}": [f"@a{n + 1}"] * 100 for n in range(10)} | {"network_def": "@a0"}  # a hundred to the tenth
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(BundleError, match="network_def is not that of inference"):
        check_bundle(copy)


@pytest.mark.parametrize("line", ["modality: mr_angiography", "network_def#init_filters: 6", "spacing_um: [1, 1, 1]"])
def test_a_preset_that_trains_another_model_than_predicts_is_refused(segresnet: Path, tmp_path: Path, line: str) -> None:
    copy = broken(segresnet, tmp_path)
    file = copy / "configs" / "tiny.yaml"
    file.write_text(f"{file.read_text()}\n{line}\n")
    with pytest.raises(BundleError, match=r"configs/tiny\.yaml: "):
        check_bundle(copy)


def test_overrides_name_no_targets() -> None:
    with pytest.raises(BundleError, match="is MONAI's own"):
        check_overrides({"loss#_target_": "os.system"})


def test_a_debugger_is_refused() -> None:
    assert check_config({"network_def": {"_target_": "monai.networks.nets.SegResNet", "_mode_": "debug"}})


@pytest.mark.parametrize("value", ["$1", "@device", "%x", "  $1", {"deep": [{"er": "$1"}]}])
def test_overrides_from_outside_must_be_plain(value: Any) -> None:
    with pytest.raises(BundleError, match="must not begin with"):
        check_overrides({"device": value})
    check_overrides({"device": "cpu", "epochs": 3, "notes": {"a": "b $ c"}})


def broken(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.mark.requirement("R07")
def test_a_bundle_that_asks_for_code_is_not_opened(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = broken(bundle, tmp_path)
    config = yaml.safe_load((copy / "configs" / "inference.yaml").read_text())
    config["network_def"]["init_filters"] = "$__import__('pathlib').Path('SENTINEL').touch() or 8"
    (copy / "configs" / "inference.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(BundleError, match="network_def#init_filters"):
        load_bundle(copy)
    assert not (tmp_path / "SENTINEL").exists()


@pytest.mark.requirement("R07")
def test_code_in_the_metadata_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    file = copy / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "x": {"_target_": "os.system", "command": "touch SENTINEL"}}))
    with pytest.raises(BundleError, match=r"metadata.json: x#_target_: target 'os.system' is not allowed"):
        check_bundle(copy)


@pytest.mark.requirement("R07")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('path: "@weights"', "path: /home/user/thesis.txt"),
        ('path: "@weights"', "path: ../../thesis.txt"),
        ('path: "@weights"', "path: \"$@output_dir + '/../../../thesis.txt'\""),
        ('path: "@weights"', "path: \"$'/home' + '/thesis.txt'\""),
        ('path: "@weights"', 'path: "@seed"'),
        ("weights: \"$@output_dir + '/model.safetensors'\"", "weights: /home/user/thesis.txt"),
        ("log_dir: \"$@output_dir + '/tensorboard'\"", "log_dir: /home/user"),
        ("output_dir: \"$@bundle_root + '/runs/train'\"", "output_dir: /home/user"),
        ("bundle_root: .", "bundle_root: /home/user"),
    ],
)
def test_a_bundle_that_would_write_elsewhere_is_refused(segresnet: Path, tmp_path: Path, old: str, new: str) -> None:
    copy = Path(shutil.copytree(segresnet, tmp_path / "bundle", ignore=shutil.ignore_patterns("models", "runs")))
    file = copy / "configs" / "train.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(BundleError, match="written below the bundle or the run's folder only"):
        check_bundle(copy)


def test_weights_of_a_loss_are_no_file(segresnet: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(segresnet, tmp_path / "bundle", ignore=shutil.ignore_patterns("models", "runs")))
    (copy / "configs" / "more.yaml").write_text(
        "other: {_target_: monai.losses.DeepSupervisionLoss, loss: '@loss', weights: [1.0, 0.5]}\n"
        "log: {_target_: minivess.train.handlers.TensorBoardLog, log_dir: '$@output_dir'}\n"
    )
    check_bundle(copy)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("extra.yaml", "a: &a [*a]\n", "aliases .* multiply"),
        (
            "extra.yaml",
            "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
            "multiply",
        ),
        ("extra.json", "[" * 100_000, "nested too deep"),
        ("extra.yaml", "[" * 100_000, "nested too deep"),
    ],
)
def test_a_configuration_without_end_is_refused_at_once(bundle: Path, tmp_path: Path, name: str, text: str, words: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (copy / "configs" / name).write_text(text)
    with pytest.raises(BundleError, match=words):
        check_bundle(copy)


@pytest.mark.parametrize("name", ["LICENSE", "docs/README.md", "configs/metadata.json", "configs/inference.yaml"])
def test_a_missing_file_is_named(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = broken(bundle, tmp_path)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name.split("/")[-1].replace(".", r"\.")):
        check_bundle(copy)


def test_code_and_logging_files_are_refused(bundle: Path, tmp_path: Path) -> None:
    copy = broken(bundle, tmp_path)
    (copy / "scripts").mkdir()
    (copy / "configs" / "logging.conf").write_text("")
    with pytest.raises(BundleError, match=r"scripts is not allowed[\s\S]*logging\.conf is not allowed"):
        check_bundle(copy)


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        check_bundle(tmp_path)


@pytest.mark.requirement("R07")
@pytest.mark.parametrize("reference", ["@handlers", "@##handlers", "@::::handlers", "@#handlers", "@::handlers", "@##handlers#0"])
@pytest.mark.parametrize(("key", "name"), [("network_def", "init_filters"), ("inferer", "cval"), ("network_def", "act")])
def test_what_is_not_looked_at_before_a_prediction_is_not_built(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, key: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = broken(bundle, tmp_path)
    (copy / "configs" / "train.yaml").unlink(missing_ok=True)
    file = copy / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text())
    config["handlers"] = {"_target_": "os.system", "command": "touch SENTINEL"}
    config[key][name] = reference
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(Exception) as refused:  # noqa: PT011 (whichever of our errors: nothing is built)
        load_bundle(copy)
    assert not (tmp_path / "SENTINEL").exists()
    assert isinstance(refused.value, MinivessError), refused.value
    with pytest.raises(BundleError, match="not allowed"):
        check_bundle(copy)


def test_what_prediction_builds_may_refer_to_what_stock_monai_builds(bundle: Path, tmp_path: Path) -> None:
    copy = broken(bundle, tmp_path)
    file = copy / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text())
    config["handlers"] = {"overlap": config["inferer"]["overlap"]}
    config["inferer"]["overlap"] = "@handlers#overlap"
    file.write_text(yaml.safe_dump(config))
    load_bundle(copy)
