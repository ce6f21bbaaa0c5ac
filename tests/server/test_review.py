"""The queue of places over HTTP: two annotators, pictures, answers, a new model."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from server.lab import Lab
from waiting import wait_until

from minivess.models import load_bundle, save_weights, weights_path
from minivess.review.mask_codec import pack_mask, unpack_mask
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.routes.review_queue import SUSPECTED_LIMIT
from minivess.server.serve import free_port
from minivess.store.region import Region
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import Box, read_volume, write_volume


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("review")
    for index in range(5):
        image = make_sample("capillary", index, shape=(160, 144, 12)).image
        write_volume(image, folder / "studies" / f"stack{index}.nii.gz")
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))
    accounts = Accounts(accounts_path(folder))
    roles = {"ann": "annotator", "bob": "annotator", "rita": "reviewer", "eve": "reader"}
    tokens = {name: accounts.add(name, role) for name, role in roles.items()}
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


def mask_of(lab: Lab, image: str, suffix: str = "nrrd", name: str = "mask") -> np.ndarray:
    answer = lab.ask("GET", f"/review/images/{image}/{name}?format={suffix}", "ann")
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


@pytest.mark.requirement("R11")
def test_a_mended_place_stays_mended_under_a_new_model(lab: Lab) -> None:
    infer(lab, "stack2")
    predicted = mask_of(lab, "stack2") > 0
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
    window = Region.from_json(place).box.slices
    np.testing.assert_array_equal(mask_of(lab, "stack2")[window] > 0, truth[window])

    model = lab.folder / "model" / "segresnet"
    network = load_bundle(model)._network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1e-4)
    save_weights(network, weights_path(model), {"made_by": "a test"})
    before = {p["id"] for p in lab.ask("GET", "/review/?image=stack2&limit=1000", "ann").json()["places"]}
    about = lab.ask("GET", "/review/images/stack2", "eve").json()
    assert about["newer_model"]
    assert not about["model_before"]
    assert lab.ask("GET", "/review/images/stack2/mask_before", "eve").status_code == 404
    assert lab.ask("GET", "/review/study?search=stack2", "eve").json()["images"][0]["newer_model"]
    told = infer(lab, "stack2")
    about = lab.ask("GET", "/review/images/stack2", "eve").json()
    assert not about["newer_model"]
    assert about["model_before"]
    np.testing.assert_array_equal(mask_of(lab, "stack2", "nii.gz", "mask_before") > 0, predicted)
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
    assert lab.ask("POST", f"/review/places/{place['id']}/take", "bob").json()["by"] == "bob"
    assert lab.ask("POST", f"/review/places/{place['id']}/take", "ann").status_code == 409
    lab.ask("POST", f"/review/places/{place['id']}/release", "bob")


def test_what_cannot_be_done_is_said(lab: Lab) -> None:
    infer(lab, "stack0")
    place = next_of(lab, "ann", "stack0")
    assert place is not None
    path = f"/review/places/{place['id']}/answer"
    assert lab.ask("POST", path, "eve", data={"verdict": "accepted"}).status_code == 403
    assert "changes nothing in this region" in lab.ask("POST", path, "ann", data={"verdict": "fixed"}).text
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


def test_a_draft_over_http_survives_a_new_model_and_answers_a_place(lab: Lab) -> None:
    infer(lab, "stack3")
    place = next_of(lab, "ann", "stack3")
    x0, x1, y0, y1, z0, z1 = place["box"]
    draft = "/review/images/stack3/draft"
    clicks = {"tool": "path", "points": [[x0 + 2, y0 + 2, z0], [x1 - 3, y1 - 3, z0]], "place": place["id"]}
    traced = lab.ask("POST", f"{draft}/prompt", "ann", json=clicks)
    assert traced.status_code == 200, traced.text
    a0, a1, b0, b1, c0, c1 = box = traced.json()["step"]["box"]
    assert x0 <= a0 < a1 <= x1
    assert z0 <= c0 < c1 <= z1
    held = unpack_mask(traced.json()["holds"], (a1 - a0, b1 - b0, c1 - c0))
    mine = volume_of(lab, f"{draft}/mask", "ann")
    np.testing.assert_array_equal(mine[a0:a1, b0:b1, c0:c1] > 0, held)
    assert (volume_of(lab, f"{draft}/mask", "bob") == mask_of(lab, "stack3")).all()
    stroke = np.zeros((4, 4, 1), bool) if mine[x0, y0, z0] else np.ones((4, 4, 1), bool)
    drawn = {"box": [x0, x0 + 4, y0, y0 + 4, z0, z0 + 1], "voxels": pack_mask(stroke)}
    assert lab.ask("POST", f"{draft}/draw", "ann", json=drawn).json()["undo"] == 2
    for turn, counts in (("undo", (1, 1)), ("undo", (0, 2)), ("redo", (1, 1)), ("redo", (2, 0))):
        told = lab.ask("POST", f"{draft}/{turn}", "ann").json()
        assert (told["undo"], told["redo"]) == counts
    before = volume_of(lab, f"{draft}/mask", "ann")
    answered = lab.ask("POST", f"/review/places/{place['id']}/answer", "ann", data={"verdict": "fixed"})
    assert answered.status_code == 200, answered.text
    np.testing.assert_array_equal(mask_of(lab, "stack3")[x0:x1, y0:y1, z0:z1], before[x0:x1, y0:y1, z0:z1])
    assert lab.ask("POST", f"{draft}/prompt", "ann", json={**clicks, "mode": "remove"}).json()["step"] is None  # locked
    assert lab.ask("DELETE", draft, "ann").json()["undo"] == 0
    assert lab.ask("GET", draft, "ann").json()["undo"] == 0
    assert box


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("prompt", {"tool": "paint", "points": [[1, 1, 1]]}, 422, "path"),
        ("prompt", {"tool": "path", "points": [[1, 1, 1]]}, 422, "needs 2 clicks"),
        ("prompt", {"tool": "grow", "points": [[1, 1, 9999]]}, 422, "must be inside the volume"),
        ("prompt", {"tool": "grow", "points": [[-1, 1, 1]]}, 422, "greater than or equal to 0"),
        ("prompt", {"tool": "grow", "points": [[1, 1, 1]], "place": "stack3:1.999"}, 404, "no queue item"),
        ("draw", {"box": [0, 999, 0, 4, 0, 1], "voxels": ""}, 422, "must be inside the image"),
        ("draw", {"box": [0, 4, 0, 4, 0, 1], "voxels": "####"}, 422, "packed mask"),
        ("draw", {"box": [0, 4, 0, 4, 0, 1], "voxels": pack_mask(np.ones((9, 9, 9), bool))}, 422, "fills its box"),
    ],
)
def test_a_prompt_that_cannot_be_is_refused_in_words(lab: Lab, path: str, body: dict[str, Any], status: int, words: str) -> None:
    infer(lab, "stack3")
    refused = lab.ask("POST", f"/review/images/stack3/draft/{path}", "ann", json=body)
    assert refused.status_code == status, refused.text
    assert words in refused.json()["detail"]
    assert lab.ask("POST", f"/review/images/stack3/draft/{path}", "eve", json=body).status_code == 403


def test_after_ten_answers_the_others_are_ranked_again(lab: Lab) -> None:
    infer(lab, "stack0")
    queue = 0
    for _ in range(40):
        place = next_of(lab, "rita", "stack0")
        if place is None:
            pytest.fail("the queue ended before it was ranked again")
        number = int(place["id"].rpartition(":")[2].split(".")[0])
        if queue and number != queue:
            break
        queue = number
        assert lab.ask("POST", f"/review/places/{place['id']}/answer", "rita", data={"verdict": "accepted"}).status_code == 200
        if lab.ask("GET", "/jobs/?kind=ranking&running=true", "rita").json():
            wait_until(lambda: not lab.ask("GET", "/jobs/?kind=ranking&running=true", "rita").json())
    jobs = lab.ask("GET", "/jobs/?kind=ranking", "rita").json()
    assert [job["state"] for job in jobs if job["subject"] == "stack0"] == ["done"]


def volume_of(lab: Lab, path: str, who: str) -> np.ndarray:
    answer = lab.ask("GET", path, who)
    assert answer.status_code == 200, answer.text
    (lab.folder / "volume.nrrd").write_bytes(answer.content)
    return read_volume(lab.folder / "volume.nrrd").array


def test_the_mask_that_the_server_sends_can_be_submitted_to_it(lab: Lab) -> None:
    infer(lab, "stack1")
    sent = lab.ask("GET", "/review/images/stack1/mask?format=nrrd", "ann")  # in mm, as viewers write, though the images mean um
    files = {"label": ("stack1.nrrd", sent.content)}
    kept = lab.ask("PUT", "/datastore/label?image=stack1&tag=final", "ann", data={"params": "{}"}, files=files)
    assert kept.status_code == 200, kept.text
    assert kept.json()["minivess"]["voxels"] == {"vessel": int((mask_of(lab, "stack1") > 0).sum())}


def test_an_image_tells_how_its_review_stands_and_is_sent_on_its_grid(lab: Lab) -> None:
    before = lab.ask("GET", "/review/images/stack4", "eve").json()
    assert (before["predicted"], before["progress"]["places"], before["revision"]) == (False, 0, None)
    infer(lab, "stack4")
    image = read_volume(lab.folder / "studies" / "stack4.nii.gz", unit="um")
    told = lab.ask("GET", "/review/images/stack4", "eve").json()
    assert (told["shape"], told["unit"], told["predicted"]) == (list(image.shape), "um", True)
    np.testing.assert_allclose(told["affine_ras"], image.affine)
    progress = told["progress"]
    assert progress["places"] > 1
    assert progress["answered"] == progress["errors_handled"] == 0
    place = next_of(lab, "ann", "stack4")
    assert place
    lab.ask("POST", f"/review/places/{place['id']}/answer", "ann", data={"verdict": "accepted", "seconds": 2.5})
    after = lab.ask("GET", "/review/images/stack4", "eve").json()["progress"]
    assert after["answered"] == 1
    assert 0 < after["errors_handled"] < 1
    assert after["errors_handled"] <= after["errors_in_queue"] <= 1
    low, high = after["seconds_left_range"]
    assert low < after["seconds_left"] < high
    assert after["seconds_left"] < progress["seconds_left"]
    (lab.folder / "image.nii.gz").write_bytes(lab.ask("GET", "/review/images/stack4/volume?format=nii.gz", "eve").content)
    sent = read_volume(lab.folder / "image.nii.gz")
    np.testing.assert_array_equal(sent.array, image.array)
    np.testing.assert_allclose(sent.affine, image.affine, atol=1e-5)


def test_a_mended_place_that_is_answered_again_or_by_somebody_else_meanwhile(lab: Lab) -> None:
    infer(lab, "stack4")
    draft = "/review/images/stack4/draft"

    def mend() -> str:
        place = next_of(lab, "ann", "stack4")
        assert place
        x0, x1, y0, y1, z0, z1 = box = place["box"]
        drawn = ~(volume_of(lab, f"{draft}/mask", "ann")[x0:x1, y0:y1, z0:z1] > 0)
        assert lab.ask("POST", f"{draft}/draw", "ann", json={"box": box, "voxels": pack_mask(drawn)}).status_code == 200
        return str(place["id"])

    place = mend()
    answers = [lab.ask("POST", f"/review/places/{place}/answer", "ann", data={"verdict": "fixed"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    place = mend()
    lab.ask("POST", f"/review/places/{place}/release", "ann")
    taken = next_of(lab, "bob", "stack4")
    assert taken
    assert taken["id"] == place
    lab.ask("POST", f"/review/places/{place}/answer", "bob", data={"verdict": "accepted"})
    late = lab.ask("POST", f"/review/places/{place}/answer", "ann", data={"verdict": "fixed"})
    assert late.status_code == 409, late.text
    assert "answered by bob" in late.json()["detail"]


def test_what_is_suspected_in_a_region_and_the_probabilities_there(lab: Lab) -> None:
    infer(lab, "stack4")
    places = lab.ask("GET", "/review/?image=stack4", "eve").json()["places"]
    place = next(place for place in places if "; and " in place["reason"])
    told = lab.ask("GET", f"/review/places/{place['id']}/errors", "eve").json()
    worst = told["errors"][0]
    reason, more = place["reason"].removesuffix(" more").rsplit("; and ", 1)
    assert reason == worst["reason"]
    assert len(told["errors"]) == min(1 + int(more), SUSPECTED_LIMIT)
    assert place["kind"] == worst["kind"]
    assert worst["expected_voxels"] == max(error["expected_voxels"] for error in told["errors"])
    box = Box.from_json(place["box"])
    for error in told["errors"]:
        assert all(box.contains(tuple(point)) for point in error["points"])
        assert error["centre"] in error["points"]
    values = np.frombuffer(zlib.decompress(base64.b64decode(told["probability"])), np.uint8).reshape(box.shape)
    np.testing.assert_array_equal(values[mask_of(lab, "stack4")[box.slices] > 0] > 0, True)
    assert lab.ask("GET", "/review/places/stack4:1.9999/errors", "eve").status_code == 404


def test_a_note_goes_with_the_answer_and_is_kept_in_the_history(lab: Lab) -> None:
    infer(lab, "stack4")
    place = next_of(lab, "ann", "stack4")
    note = "zu unscharf \u2013 \u8840\u7ba1?"
    path = f"/review/places/{place['id']}/answer"
    assert lab.ask("POST", path, "ann", data={"verdict": "skipped", "note": "x" * 501}).status_code == 422
    lab.ask("POST", path, "ann", data={"verdict": "skipped", "note": note}).raise_for_status()
    assert lab.ask("GET", f"/review/places/{place['id']}", "bob").json()["answer"]["note"] == note
    assert lab.ask("DELETE", path, "ann").json()["answer"] == {}


def test_one_place_in_ten_is_a_random_check_and_progress_says_how_they_went(lab: Lab) -> None:
    infer(lab, "stack4")
    lab.ask("POST", "/review/images/stack4/queue?order=density&count=60", "ann").raise_for_status()
    places = lab.ask("GET", "/review/?image=stack4&state=pending&limit=100", "eve").json()["places"]
    drawn = [place for place in places if place["kind"] == "random check"]
    assert [places.index(place) + 1 for place in drawn] == list(range(10, len(places) + 1, 10))
    for place in drawn[:2]:
        lab.ask("POST", f"/review/places/{place['id']}/answer", "ann", data={"verdict": "accepted"}).raise_for_status()
    progress = lab.ask("GET", "/review/images/stack4", "eve").json()["progress"]
    assert (progress["checks"], progress["checks_right"]) == (len(drawn[:2]), len(drawn[:2]))
