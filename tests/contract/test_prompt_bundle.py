"""Boxes by LiteMedSAM with its published weights, beside the model that segments: from the page's requests and the stock client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from skimage.measure import label as measure_pieces
from skimage.measure import regionprops
from small_bundles import BUNDLES, small_bundle

from contract.test_label_app import client
from minivess.errors import InputError
from minivess.label_app.settings import AppSettings
from minivess.metrics import dsc
from minivess.models.foreign_weights import import_weights, published_weights
from minivess.review.mask_codec import unpack_mask
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.train import copy_bundle
from minivess.volume import Box, read_volume


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LiteMedSAM as its README says."""
    bundle = copy_bundle(BUNDLES / "litemedsam", tmp_path_factory.mktemp("published") / "my_boxes")
    import_weights(published_weights(bundle), bundle)
    return bundle


@pytest.fixture(scope="module")
def served(published: Path, tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Iterator[tuple[LabelServer, Path]]:
    folder = tmp_path_factory.mktemp("served")
    studies = Path(shutil.copytree(dataset / "images", folder / "studies"))
    conf = {
        "model_dir": str(folder / "model"),
        "bundle": str(small_bundle(BUNDLES / "segresnet", folder / "segments")),
        "prompt_bundle": str(published),
        "epistemic_enabled": "false",
    }
    launch = prepare_server(studies, workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "server.log") as running:
        yield running, studies


def vessel_in_one_slice(dataset: Path, name: str) -> tuple[np.ndarray, Box]:
    """The label of a stack, and the box around the largest vessel of a slice that fills its box."""
    label = read_volume(dataset / "labels" / f"{name}.nii.gz").array > 0
    pieces = [(piece, z) for z in range(label.shape[2]) for piece in regionprops(measure_pieces(label[..., z]))]
    piece, z = max(pieces, key=lambda found: float(found[0].area * found[0].extent))
    x0, y0, x1, y1 = piece.bbox
    return label, Box(max(x0 - 2, 0), x1 + 2, max(y0 - 2, 0), y1 + 2, z, z + 1).intersect(
        Box.from_corners((0, 0, 0), label.shape)
    )


def test_a_box_of_the_page_changes_the_draft_inside_it_alone(served: tuple[LabelServer, Path], dataset: Path) -> None:
    server, _ = served
    headers = {"Authorization": f"Bearer {server.launch.token}"}

    def ask(method: str, path: str, **keywords: object) -> requests.Response:
        return requests.request(method, f"{server.url}{path}", headers=headers, timeout=120, **keywords)  # type: ignore[arg-type]

    tools = {tool["name"]: tool for tool in ask("GET", "/review/capabilities").json()["tools"]}
    assert tools["box"]["clicks"] == 2
    assert "object" not in tools, "its published weights know boxes alone"
    ask("POST", "/infer/segresnet?image=stack0&output=json", data={"params": "{}"}).raise_for_status()
    label, box = vessel_in_one_slice(dataset, "stack0")
    corners = [list(box.low), [value - 1 for value in box.high]]
    answer = ask("POST", "/review/images/stack0/draft/prompt", json={"tool": "box", "points": corners, "mode": "replace"})
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["step"]["name"] == "box"
    changed = Box(*content["step"]["box"])
    assert all(a <= b for a, b in zip(box.low, changed.low, strict=True))
    assert all(a >= b for a, b in zip(box.high, changed.high, strict=True))
    found = unpack_mask(content["holds"], changed.shape) > 0
    assert dsc(found, label[changed.slices]) > 0.4, "the published weights see vessels"
    one = ask("POST", "/review/images/stack0/draft/prompt", json={"tool": "box", "points": corners[:1]})
    assert one.status_code == 422
    assert "needs 2 clicks" in json.dumps(one.json())
    same = ask("POST", "/review/images/stack0/draft/prompt", json={"tool": "box", "points": [[3, 4, 1], [3, 9, 1]]})
    assert same.status_code == 422
    assert "encloses nothing" in json.dumps(same.json())


def test_the_stock_client_draws_a_box_by_two_clicks(served: tuple[LabelServer, Path], dataset: Path, tmp_path: Path) -> None:
    server, studies = served
    _, box = vessel_in_one_slice(dataset, "stack1")
    script = """
import shutil
corners = json.loads(sys.argv[2])
file, params = c.infer('vessel_box', 'stack1', {'result_extension': '.nii.gz', 'foreground': corners, 'background': []})
shutil.copy(file, sys.argv[1])
print(json.dumps(params['minivess']['tool']))"""
    corners = json.dumps([list(box.low), [value - 1 for value in box.high]])
    assert client(server, script, str(tmp_path / "mask.nii.gz"), corners) == "box"
    mask = read_volume(tmp_path / "mask.nii.gz")
    assert mask.same_grid(read_volume(studies / "stack1.nii.gz"))
    assert mask.array[box.slices].any()


def test_a_prompt_bundle_that_cannot_answer_is_refused_at_the_start(tmp_path: Path) -> None:
    for name, match in (("segresnet", "takes no prompts"), ("litemedsam", "no weights")):
        bundle = small_bundle(BUNDLES / name, tmp_path / name, weights=name == "segresnet")
        with pytest.raises(InputError, match=match):
            AppSettings.from_conf(str(tmp_path), {"prompt_bundle": str(bundle)})
