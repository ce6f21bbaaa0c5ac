"""Adapters on one base, chosen by each request, under load: none answers for another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from small_bundles import BUNDLES, network_of, small_bundle

from contract.test_label_app import client, info
from minivess.map_package.folder import copy_for_delivery
from minivess.models import load_bundle, save_weights, weights_path
from minivess.paths import file_sha256
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.train import publish, roll_back
from minivess.volume import read_volume

ADAPTERS = {"capillaries": 1, "tumour": 2}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Iterator[tuple[LabelServer, Path, Path]]:
    folder = tmp_path_factory.mktemp("adapters")
    studies = Path(shutil.copytree(dataset / "images", folder / "studies"))
    bundle = small_bundle(BUNDLES / "sam3_lora", folder / "sam")
    conf = {"model_dir": str(folder / "model"), "bundle": str(bundle), "preset": "tiny", "epistemic_enabled": "false"}
    launch = prepare_server(studies, workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "server.log") as running:
        models = weights_path(folder / "model" / "sam3_lora").parent
        for name, seed in ADAPTERS.items():  # put there while the server runs
            save_weights(network_of(bundle, seed), models / f"{name}.safetensors", {})
        yield running, models, studies


def infer(server: LabelServer, image: str, weights: str | None) -> requests.Response:
    return requests.post(
        f"{server.url}/infer/sam3_lora?image={image}&output=json",
        data={"params": "{}" if weights is None else f'{{"weights": "{weights}"}}'},
        headers={"Authorization": f"Bearer {server.launch.token}"},
        timeout=240,
    )


def test_each_request_chooses_its_adapter_and_gets_it_under_load(served: tuple[LabelServer, Path, Path]) -> None:
    server, models, studies = served
    assert info(server)["models"]["sam3_lora"]["config"]["weights"] == ["model", *ADAPTERS]
    names = [None, *ADAPTERS]
    expected = {
        name: load_bundle(models.parent, weights=models / f"{name or 'model'}.safetensors", device="cpu").predict(
            read_volume(studies / "stack0.nii.gz")
        )
        for name in names
    }
    uncertainty = {name: float(prediction.uncertainty.array.mean()) for name, prediction in expected.items()}
    assert len({round(value, 4) for value in uncertainty.values()}) == len(names), "they differ"
    with ThreadPoolExecutor(4) as pool:
        asked = names * 4
        answers = list(pool.map(lambda name: infer(server, "stack0", name), asked))
    for name, answer in zip(asked, answers, strict=True):
        assert answer.status_code == 200, answer.text
        said = answer.json()["minivess"]
        assert said["model"]["weights_sha256"] == file_sha256(models / f"{name or 'model'}.safetensors")
        assert said["mean_uncertainty_nats"] == pytest.approx(uncertainty[name], abs=1e-6)
        assert ("places" in said) == (name is None), "the queue is of the published weights"


def test_unknown_and_damaged_weights_are_refused_and_a_removed_file_is_gone(served: tuple[LabelServer, Path, Path]) -> None:
    server, models, _ = served
    for wrong in ("../../secret", "none", "capillaries.safetensors"):
        answer = infer(server, "stack0", wrong)
        assert answer.status_code == 422, answer.text
        assert "Allowed: model" in answer.text
    (models / "short.safetensors").write_bytes(b"nothing")
    assert infer(server, "stack0", "short").status_code >= 400
    (models / "short.safetensors").unlink()
    assert infer(server, "stack0", "short").status_code == 422
    assert infer(server, "stack0", None).status_code == 200


def test_the_stock_client_sends_the_choice(served: tuple[LabelServer, Path, Path]) -> None:
    server, models, _ = served
    script = """
_, params = c.infer('sam3_lora', 'stack1', {'result_extension': '.nii.gz', 'weights': sys.argv[1]})
print(json.dumps(params['minivess']['model']['weights_sha256']))"""
    assert client(server, script, "tumour") == file_sha256(models / "tumour.safetensors")


def test_adapters_share_the_frozen_base(tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / "sam3_lora", tmp_path / "sam")
    save_weights(network_of(bundle, 1), tmp_path / "other.safetensors", {})
    first = load_bundle(bundle, device="cpu")
    second = first.with_weights(tmp_path / "other.safetensors", first.model)  # type: ignore[attr-defined]
    networks = first._network, second._network  # type: ignore[attr-defined]
    pairs = zip(*([*network.parameters(), *network._tracker[0].parameters()] for network in networks), strict=True)
    shared = {(a.requires_grad, a.data_ptr() == b.data_ptr()) for a, b in pairs}
    assert shared == {(False, True), (True, False)}


def test_a_trained_encoder_does_not_share_features_with_others(tmp_path: Path) -> None:
    network = network_of(small_bundle(BUNDLES / "sam3_lora", tmp_path / "sam"))
    assert network.encoder_identity() == network.base_identity()  # type: ignore[operator]
    next(value for name, value in network.detector.named_parameters() if "vision_encoder" in name).requires_grad_(True)  # type: ignore[union-attr]
    assert network.encoder_identity() == ""  # type: ignore[operator]


def test_a_roll_back_and_a_package_leave_other_weights_alone(tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / "segresnet", tmp_path / "bundle")
    other = weights_path(bundle).with_name("tumour.safetensors")
    save_weights(network_of(bundle, 1), other, {})
    save_weights(network_of(bundle, 2), tmp_path / "new.safetensors", {})
    publish(tmp_path / "new.safetensors", bundle)
    other.unlink()
    roll_back(bundle)
    assert not other.exists(), "it was removed"
    save_weights(network_of(bundle, 1), other, {})
    copy_for_delivery(bundle, tmp_path / "delivered")
    assert [file.name for file in (tmp_path / "delivered" / "models").iterdir()] == ["model.safetensors"]
