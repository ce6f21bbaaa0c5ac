"""Bad requests to a real server: each refused in words, nothing changed, nobody else disturbed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from dicom.test_series import ORIENTATIONS, volume_of
from store.conftest import image_volume, label_volume

from minivess.dicom import write_series
from minivess.models import weights_path
from minivess.server import Accounts, LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.store import LabelStore
from minivess.train import copy_bundle, publish
from minivess.volume import write_volume


class Server:
    """A running server, its people and its store."""

    def __init__(self, running: LabelServer, studies: Path, people: Accounts) -> None:
        self.running = running
        self.studies = studies
        self.tokens = {role: people.add(f"a-{role}", role) for role in ("reader", "annotator", "reviewer", "admin")}

    def ask(self, method: str, path: str, *, role: str = "annotator", **keywords: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return requests.request(method, f"{self.running.url}{path}", headers=headers, timeout=60, **keywords)

    def refused(self, status: int, words: str, method: str, path: str, **keywords: object) -> None:
        before = self.state()
        answer = self.ask(method, path, **keywords)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error", "detail", "request_id"}
        assert words in answer.json()["detail"], answer.text
        assert self.state() == before

    def state(self) -> object:
        store = LabelStore(self.studies)
        files = sorted(
            p for p in self.studies.parent.rglob("*") if not {"audit", "server", "logs"} & set(p.parts) and "index" not in p.name
        )
        entered = [e for e in store.journal.audit.entries() if not e["action"].startswith("request.")]
        return [p for p in files if "__pycache__" not in p.parts and "app" not in p.parts], len(entered)

    def send_label(self, file: Path, image: str = "a", tag: str = "final", **params: object) -> requests.Response:
        with file.open("rb") as stream:
            return self.ask(
                "PUT", "/datastore/label", params={"image": image, "tag": tag}, files={"label": (file.name, stream)},
                data={"params": json.dumps(params)},
            )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults")
    write_volume(image_volume(), folder / "studies" / "a.nii.gz")
    target = copy_bundle(bundle, folder / "server" / "model" / "segresnet")
    publish(weights_path(bundle), target)
    launch = prepare_server(
        folder / "studies", workspace=folder / "server", port=free_port(), conf={"preset": "tiny", "skip_scoring": "true"}
    )
    with LabelServer(launch, log=folder / "server" / "server.log") as running:
        yield Server(running, folder / "studies", Accounts(folder / "server" / "accounts.json"))


@pytest.mark.row(1, 3)
@pytest.mark.parametrize("name", ["../app/main", "..%2f..", "/etc/x", "C:\\x", "a\0b", "x" * 4000, "\u202egz.iin"])
def test_row_1_and_3_names(server: Server, tmp_path: Path, name: str) -> None:
    label = write_volume(label_volume(), tmp_path / "l.nii.gz")
    for query in ({"image": name}, {"image": "a", "tag": name}):
        with label.open("rb") as stream:
            server.refused(400, "Allowed", "PUT", "/datastore/label", params=query, files={"label": ("l.nii.gz", stream)})
    with label.open("rb") as stream:
        server.refused(400, "Allowed", "PUT", "/datastore/image", params={"image": name}, files={"file": ("l.nii.gz", stream)})


@pytest.mark.row(2)
@pytest.mark.parametrize("name", ["x.py", "x.json", "x.html", "x.nii.gz", "x.nii", "x.nrrd"])
def test_row_2_content_decides_not_the_name(server: Server, name: str) -> None:
    body = b"\x89PNG\r\n\x1a\n" + bytes(500)
    before = server.state()
    answer = server.ask("PUT", "/datastore/image", params={"image": "new"}, files={"file": (name, body)})
    assert answer.status_code in (415, 422)
    assert server.state() == before


def test_a_file_name_that_no_disk_takes(server: Server, tmp_path: Path) -> None:
    image = write_volume(image_volume(9), tmp_path / "x.nii.gz").read_bytes()
    for name in (f"x.{'y' * 300}.nii.gz", "x.\x01.nii.gz"):
        server.refused(400, "Rename the file", "PUT", "/datastore/image", params={"image": "new"}, files={"file": (name, image)})


@pytest.mark.row(3)
def test_row_3_ids_that_differ_in_case_only(server: Server, tmp_path: Path) -> None:
    image = write_volume(image_volume(9), tmp_path / "A.nii.gz")
    with image.open("rb") as stream:
        server.refused(409, "overwritten", "PUT", "/datastore/image", params={"image": "A"}, files={"file": ("A.nii.gz", stream)})


@pytest.mark.row(4)
@pytest.mark.parametrize("text", ["{", "[1]", '{"a": NaN}', "[" * 10_000, '{"a":' * 50 + "1" + "}" * 50])
def test_row_4_params_that_are_no_plain_json(server: Server, text: str) -> None:
    server.refused(400, "params", "POST", "/infer/segresnet", params={"image": "a"}, data={"params": text})


@pytest.mark.row(4)
def test_row_4_a_json_body_ten_thousand_deep(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.tokens['admin']}", "Content-Type": "application/json"}
    deep = '{"a":' * 10_000 + "1" + "}" * 10_000
    answer = requests.post(f"{server.running.url}/activelearning/random", data=deep, headers=headers, timeout=120)
    assert 400 <= answer.status_code < 500


@pytest.mark.row(5)
@pytest.mark.parametrize("place", ["device", "deep"])
def test_row_5_nothing_is_evaluated(server: Server, tmp_path: Path, place: str) -> None:
    code = f"$__import__('pathlib').Path('{tmp_path / 'sentinel'}').touch()"
    params = {"device": code} if place == "device" else {"a": [{"b": code}]}
    server.refused(400, "may not begin", "POST", "/infer/segresnet", params={"image": "a"}, data={"params": json.dumps(params)})
    server.refused(400, "may not begin", "POST", "/train/segresnet", json=params, role="admin")
    server.refused(400, "may not begin", "POST", "/activelearning/random", json=params)
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.row(6)
def test_row_6_devices_models_and_paths_that_are_not_there(server: Server) -> None:
    def infer(status: int, words: str, model: str = "segresnet", **params: str) -> None:
        server.refused(status, words, "POST", f"/infer/{model}", params={"image": "a"}, data={"params": json.dumps(params)})

    infer(422, "no device 'cuda:99'", device="cuda:99")
    infer(404, "no model 'nope'", model="nope")
    infer(400, "set by the path", image="/etc/passwd")
    server.refused(404, "no strategy", "POST", "/activelearning/nope", json={})
    server.refused(404, "no trainer", "POST", "/train/nope", json={}, role="admin")


@pytest.mark.row(7)
def test_row_7_an_unknown_image_is_named(server: Server, tmp_path: Path) -> None:
    server.refused(404, "no image ghost", "POST", "/infer/segresnet", params={"image": "ghost"})
    label = write_volume(label_volume(), tmp_path / "l.nii.gz")
    with label.open("rb") as stream:
        server.refused(
            404, "no image ghost", "PUT", "/datastore/label", params={"image": "ghost"}, files={"label": ("l.nii.gz", stream)}
        )


@pytest.mark.row(8)
@pytest.mark.parametrize("token", ["", "x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."])
def test_row_8_no_token_no_answer(server: Server, token: str) -> None:
    for path in ("/info/", "/datastore/", "/datastore/image?image=a"):
        answer = requests.get(f"{server.running.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=120)
        assert answer.status_code == 401


@pytest.mark.row(9)
def test_row_9_roles_and_their_record(server: Server) -> None:
    for method, path in (("PUT", "/model/segresnet"), ("DELETE", "/datastore/image?id=a")):
        server.refused(403, "yours is annotator", method, path)
    assert server.ask("POST", "/train/segresnet", json={}).status_code in (401, 403)
    assert server.ask("POST", "/reload", role="admin").status_code == 404
    assert server.ask("GET", "/proxy/dicom/qido/studies", role="admin").status_code == 404
    entries = [e for e in LabelStore(server.studies).journal.audit.entries() if e["action"] == "request.refused"]
    assert {e["actor"] for e in entries} == {"a-annotator"}


@pytest.mark.row(13, 14, 15, 16)
def test_rows_13_to_16_labels(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    whole = write_volume(label_volume(), tmp_path / "whole.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_volume(label_volume(shape=(12, 10, 5)), tmp_path / "shape.nii.gz")
    write_volume(label_volume(value=7), tmp_path / "class.nii.gz")
    write_volume(label_volume(value=0), tmp_path / "zero.nii.gz")
    before = server.state()
    for name, words in (("empty", "0 bytes"), ("cut", "truncated"), ("shape", "grid"), ("class", "value 7"), ("zero", "empty")):
        answer = server.send_label(tmp_path / f"{name}.nii.gz")
        assert answer.status_code == 422, answer.text
        assert words in answer.json()["detail"]
    assert server.state() == before
    assert server.send_label(tmp_path / "zero.nii.gz", tag="checked", empty=True).status_code == 200


@pytest.mark.row(46, 47, 48)
def test_rows_46_to_48_retries_rivals_and_leases(server: Server, tmp_path: Path) -> None:
    first, second = (write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in (1, 2))
    given = server.ask("POST", "/activelearning/random", json={}).json()
    assert given["id"] == "a"
    assert server.ask("POST", "/activelearning/random", json={}, role="reviewer").json() == {}  # the only one is taken
    answers = [server.send_label(first) for _ in range(5)]
    assert {a.status_code for a in answers} == {200}
    assert len({json.dumps(a.json()) for a in answers}) == 1
    with second.open("rb") as stream:
        answer = server.ask(
            "PUT",
            "/datastore/label",
            role="reviewer",
            params={"image": "a", "tag": "final"},
            files={"label": ("b.nii.gz", stream)},
        )
    assert answer.status_code == 409
    assert "a-annotator" in answer.json()["detail"]
    assert [r.actor for r in LabelStore(server.studies).conflicting()] == ["a-reviewer"]


def test_a_prediction_never_becomes_a_final_label(server: Server) -> None:
    params = json.dumps({"save_label": True, "label_tag": "final"})
    server.refused(422, "a person submits that", "POST", "/infer/segresnet", params={"image": "a"}, data={"params": params})
    answer = server.ask(
        "POST", "/infer/segresnet", params={"image": "a", "output": "json"}, data={"params": '{"save_label": true}'}
    )
    assert answer.status_code == 200, answer.text
    assert LabelStore(server.studies).head("a", "original") is not None


def test_an_approval_is_a_review(server: Server) -> None:
    query = {"label": "a", "tag": "original"}
    info = json.dumps({"segmentationMeta": {"status": "approved", "comment": "good"}})
    assert server.ask("PUT", "/datastore/label/info", params=query, data={"info": info}).status_code == 403
    answer = server.ask("PUT", "/datastore/updatelabelinfo", role="reviewer", params=query, data={"params": info})
    assert answer.status_code == 200, answer.text
    (review,) = LabelStore(server.studies).reviews("a")
    assert (review["state"], review["actor"], review["comment"]) == ("approved", "a-reviewer", "good")
    assert server.ask("GET", "/datastore/label/info", params=query).json()["segmentationMeta"]["status"] == "approved"


@pytest.mark.row(20)
def test_row_20_archives(server: Server, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../evil", b"x")
    with (tmp_path / "evil.zip").open("rb") as stream:
        server.refused(
            400, "leaves its folder", "PUT", "/session/", params={"uncompress": "true"}, files={"files": ("a.zip", stream)}
        )
    write_series(volume_of(ORIENTATIONS["oblique"], (24, 20, 6)), tmp_path / "dicom", name="oblique")
    packed = Path(shutil.make_archive(str(tmp_path / "series"), "zip", tmp_path / "dicom"))
    with packed.open("rb") as stream:
        session = server.ask("PUT", "/session/", params={"uncompress": "true"}, files={"files": ("series.zip", stream)}).json()
    query = {"session_id": session["session_id"], "output": "json"}
    answer = server.ask("POST", "/infer/segresnet", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["label_names"] == {"vessel": 1}


def test_the_server_still_answers(server: Server) -> None:
    assert server.ask("GET", "/info/").json()["name"] == "MinIVess"
    assert requests.get(f"{server.running.url}/healthz", timeout=120).json()["status"] == "alive"
    assert requests.get(f"{server.running.url}/readyz", timeout=120).json()["status"] == "ready"
