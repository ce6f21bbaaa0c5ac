"""VISTA-3D and SAM 3 with LoRA, small and untrained, behind a real server: from the stock client and from the page's requests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import yaml
from small_bundles import BUNDLES, small_bundle

from contract.test_label_app import client, info
from minivess.review.mask_codec import unpack_mask
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.volume import Box, read_volume


@pytest.fixture(scope="module", params=["vista3d", "sam3_lora"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, dataset: Path
) -> Iterator[tuple[LabelServer, str, Path]]:
    folder = tmp_path_factory.mktemp(request.param)
    studies = Path(shutil.copytree(dataset / "images", folder / "studies"))
    bundle = small_bundle(BUNDLES / request.param, folder / "a bundle of any name")
    for file in (bundle / "configs" / f"{workflow}.yaml" for workflow in ("train", "inference")):
        config = yaml.safe_load(file.read_text())
        config["threshold"] = 0.999999  # untrained networks paint everything
        file.write_text(yaml.safe_dump(config, sort_keys=False))
    conf = {"model_dir": str(folder / "model"), "bundle": str(bundle), "preset": "tiny", "epistemic_enabled": "false"}
    launch = prepare_server(studies, workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "server.log") as running:
        yield running, request.param, studies


def test_the_model_has_its_own_name_and_takes_clicks(served: tuple[LabelServer, str, Path]) -> None:
    server, name, _ = served
    models = info(server)["models"]
    assert models[name]["type"] == "segmentation"
    assert models["vessel_object"]["type"] == "deepgrow"


def test_the_stock_client_segments_and_clicks(served: tuple[LabelServer, str, Path], tmp_path: Path) -> None:
    server, name, studies = served
    script = """
import shutil
file, _ = c.infer(sys.argv[1], 'stack0', {'result_extension': '.nii.gz'})
shutil.copy(file, sys.argv[2])
sizes = []
for clicks in ([[40, 50, 4]], [[70, 20, 2]]):
    file, params = c.infer('vessel_object', 'stack0', {'result_extension': '.nii.gz', 'foreground': clicks, 'background': [[5, 5, 1]]})
    shutil.copy(file, sys.argv[3] + '/' + str(len(sizes)) + '.nii.gz')
    sizes.append(params['minivess']['tool'])
print(json.dumps(sizes))"""
    assert client(server, script, name, str(tmp_path / "mask.nii.gz"), str(tmp_path)) == ["object", "object"]
    image = read_volume(studies / "stack0.nii.gz")
    masks = [read_volume(tmp_path / f"{name}.nii.gz") for name in ("mask", "0", "1")]
    assert all(mask.same_grid(image) for mask in masks)
    assert not np.array_equal(masks[1].array, masks[2].array)


def test_a_click_of_the_page_changes_the_draft_and_can_be_undone(served: tuple[LabelServer, str, Path]) -> None:
    server, name, _ = served
    headers = {"Authorization": f"Bearer {server.launch.token}"}

    def ask(method: str, path: str, **keywords: object) -> requests.Response:
        return requests.request(method, f"{server.url}{path}", headers=headers, timeout=120, **keywords)  # type: ignore[arg-type]

    assert "object" in {tool["name"] for tool in ask("GET", "/review/capabilities").json()["tools"]}
    ask("POST", f"/infer/{name}?image=stack1&output=json", data={"params": "{}"}).raise_for_status()
    answer = ask("POST", "/review/images/stack1/draft/prompt", json={"tool": "object", "points": [[40, 50, 4]]})
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["step"]["name"] == "object"
    box = Box(*content["step"]["box"])
    assert unpack_mask(content["holds"], box.shape).shape == box.shape
    assert ask("POST", "/review/images/stack1/draft/undo").json()["undo"] == 0
    wrong = ask("POST", "/review/images/stack1/draft/prompt", json={"tool": "object", "points": [[4000, 50, 4]]})
    assert wrong.status_code == 422
    assert "outside the volume" in json.dumps(wrong.json())
