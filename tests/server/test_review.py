"""The queue of places over HTTP: two annotators, pictures, answers, a new model."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from server.lab import Lab

from minivess.models import load_bundle, save_weights, weights_path
from minivess.review.region import Region
from minivess.server import LabelServer, People, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import read_volume, write_volume


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("review")
    for index in range(4):
        image = make_sample("capillary", index, shape=(160, 144, 12)).image
        write_volume(image, folder / "studies" / f"stack{index}.nii.gz")
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))
    people = People(accounts_path(folder))
    roles = {"ann": "annotator", "bob": "annotator", "rita": "reviewer", "eve": "reader"}
    tokens = {name: people.add(name, role) for name, role in roles.items()}
    conf = {"model_dir": str(folder / "model"), "unit": "um", "epistemic_enabled": "false"}
    launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "log") as server:
        yield Lab(server, tokens, folder)


def infer(lab: Lab, image: str) -> dict[str, Any]:
    answer = lab.ask("POST", f"/infer/segresnet?image={image}&output=json", "ann")
    assert answer.status_code == 200, answer.text
    params: dict[str, Any] = answer.json().get("params", answer.json())
    return params["minivess"]


def next_of(lab: Lab, who: str, image: str = "") -> dict[str, Any] | None:
    answer = lab.ask("POST", f"/review/next?image={image}", who)
    assert answer.status_code == 200, answer.text
    place: dict[str, Any] | None = answer.json()["place"]
    return place


def mask_of(lab: Lab, image: str, suffix: str = "nrrd") -> np.ndarray:
    answer = lab.ask("GET", f"/review/images/{image}/mask?format={suffix}", "ann")
    assert answer.status_code == 200, answer.text
    (lab.folder / f"mask.{suffix}").write_bytes(answer.content)
    return read_volume(lab.folder / f"mask.{suffix}").array


def test_an_inference_fills_the_queue_and_tells_of_it(lab: Lab) -> None:
    told = infer(lab, "stack0")
    assert told["places_in_all"] >= len(told["places"]) > 0
    listed = lab.ask("GET", "/review/?image=stack0&limit=1000", "eve").json()
    assert listed["total"] == told["places_in_all"]
    assert [p["id"] for p in listed["places"][: len(told["places"])]] == [p["id"] for p in told["places"]]
    worth = [p["expected_errors"] for p in listed["places"]]
    assert worth == sorted(worth, reverse=True)
    image = read_volume(lab.folder / "studies" / "stack0.nii.gz", unit="um")
    for place in listed["places"]:
        x, y, z = (np.linalg.inv(image.affine) @ [*place["centre_ras"], 1])[:3]
        x0, x1, y0, y1, z0, z1 = place["box"]
        assert x0 <= round(x) < x1
        assert y0 <= round(y) < y1
        assert z0 <= round(z) < z1
    again = infer(lab, "stack0")  # the same model: the same queue
    assert [p["id"] for p in again["places"]] == [p["id"] for p in told["places"]]
    page = lab.ask("GET", "/review/?image=stack0&offset=2&limit=1&state=pending", "eve").json()
    assert page["places"] == [listed["places"][2]]


def test_two_annotators_answer_and_no_place_comes_twice(lab: Lab) -> None:
    infer(lab, "stack1")
    served: list[str] = []
    for turn in range(6):
        who = ("ann", "bob")[turn % 2]
        place = next_of(lab, who, "stack1")
        assert place is not None
        assert place["state"] == "leased"
        assert place["by"] == who
        served.append(place["id"])
        path = f"/review/places/{place['id']}"
        other = lab.ask("POST", f"{path}/answer", ("bob", "ann")[turn % 2], data={"verdict": "accepted"})
        assert other.status_code == 409
        answer = lab.ask("POST", f"{path}/answer", who, data={"verdict": ("accepted", "skipped")[turn % 2], "seconds": "4.5"})
        assert answer.status_code == 200, answer.text
    assert len(set(served)) == 6
    assert lab.ask("GET", "/review/?image=stack1&state=accepted&state=skipped", "eve").json()["total"] == 6
    taken_back = lab.ask("DELETE", f"/review/places/{served[0]}/answer", "bob")
    assert taken_back.status_code == 403
    assert lab.ask("DELETE", f"/review/places/{served[0]}/answer", "ann").json()["state"] == "pending"
    assert lab.ask("DELETE", f"/review/places/{served[1]}/answer", "rita").json()["state"] == "pending"


def test_a_mended_place_stays_mended_under_a_new_model(lab: Lab) -> None:
    infer(lab, "stack2")
    place = next_of(lab, "ann", "stack2")
    assert place is not None
    truth_file = lab.folder / "truth.nii.gz"
    image = read_volume(lab.folder / "studies" / "stack2.nii.gz", unit="um")
    truth = np.random.default_rng(0).random(image.shape) < 0.5
    write_volume(image.with_array(truth.astype(np.uint8)), truth_file)
    path = f"/review/places/{place['id']}/answer"
    with truth_file.open("rb") as stream:
        answer = lab.ask("POST", path, "ann", data={"verdict": "fixed"}, files={"label": ("truth.nii.gz", stream)})
    assert answer.status_code == 200, answer.text
    window = Region.of_json(place).slices
    np.testing.assert_array_equal(mask_of(lab, "stack2")[window] > 0, truth[window])

    model = lab.folder / "model" / "segresnet"
    network = load_bundle(model)._network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1e-4)
    save_weights(network, weights_path(model), {"made_by": "a test"})
    before = {p["id"] for p in lab.ask("GET", "/review/?image=stack2&limit=1000", "ann").json()["places"]}
    told = infer(lab, "stack2")
    assert not before & {p["id"] for p in told["places"]}  # ranked again
    np.testing.assert_array_equal(mask_of(lab, "stack2", "nii.gz")[window] > 0, truth[window])
    assert lab.ask("GET", f"/review/places/{place['id']}", "eve").json()["state"] == "fixed"
    assert all(p["box"] != place["box"] for p in told["places"])
    refilled = lab.ask("POST", "/review/images/stack2/queue?count=3&order=density", "ann").json()
    assert refilled["places"] == 3
    assert refilled["ranked_by"] == "rule"


def test_pictures_and_heat_maps(lab: Lab) -> None:
    infer(lab, "stack0")
    place = next_of(lab, "bob", "stack0")
    assert place is not None
    picture = lab.ask("GET", f"/review/places/{place['id']}/picture.png", "eve")
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).height == 256
    heat = lab.ask("GET", "/review/images/stack0/heat?format=nii.gz", "eve")
    (lab.folder / "heat.nii.gz").write_bytes(heat.content)
    volume = read_volume(lab.folder / "heat.nii.gz")
    assert volume.same_grid(read_volume(lab.folder / "studies" / "stack0.nii.gz", unit="um"))
    assert 0 < volume.array.max() <= np.log(2) + 1e-3
    released = lab.ask("POST", f"/review/places/{place['id']}/release", "bob").json()
    assert released["state"] == "pending"


def test_what_cannot_be_done_is_said(lab: Lab) -> None:
    infer(lab, "stack0")
    place = next_of(lab, "ann", "stack0")
    assert place is not None
    path = f"/review/places/{place['id']}/answer"
    assert lab.ask("POST", path, "eve", data={"verdict": "accepted"}).status_code == 403
    assert "come with the answer fixed" in lab.ask("POST", path, "ann", data={"verdict": "fixed"}).text
    wrong = lab.ask("POST", path, "ann", data={"verdict": "fixed"}, files={"label": ("x.nii.gz", b"no label")})
    assert wrong.status_code == 422
    assert lab.ask("POST", path, "ann", data={"verdict": "perhaps"}).status_code == 422
    assert lab.ask("GET", "/review/places/stack0:1.99999", "eve").status_code == 404
    assert lab.ask("GET", "/review/images/stack3/heat", "eve").status_code == 404
    assert lab.ask("POST", "/review/images/nothing/queue", "ann").status_code == 404
    assert lab.ask("GET", f"/review/places/{place['id']}", "eve").json()["state"] == "leased"
    operations = lab.ask("GET", "/openapi.json", "eve").json()["paths"]
    assert {"/review/", "/review/next", "/review/places/{place}/answer"} <= set(operations)
    chain = (lab.folder / "studies" / "minivess_store" / "audit" / "chain.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["action"] == "answer.entered" for line in chain) >= 7
