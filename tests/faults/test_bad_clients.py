"""One client, one file or one request never stops everybody: a real server, attacked while a normal client goes on."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import psutil
import pytest
import requests
from safetensors.torch import load, save
from store.conftest import image_volume, label_volume
from waiting import wait_until

from minivess.errors import ConflictError
from minivess.models import weights_path
from minivess.models.weights import read_weights, write_weights
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.http_protocol import HEADER_TIMEOUT_S, MAX_CONNECTIONS
from minivess.server.serve import free_port
from minivess.store import LabelStore
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume


class Lab:
    """A server with one account of each role, and a normal client that is timed."""

    def __init__(self, server: LabelServer, folder: Path, accounts: Accounts) -> None:
        self.server, self.folder, self.studies = server, folder, folder / "studies"
        self.tokens = {
            name: accounts.add(name, role) for name, role in {"ann": "annotator", "rita": "reviewer", "ada": "admin"}.items()
        }
        self.address = (urlsplit(server.url).hostname, urlsplit(server.url).port)

    def ask(self, method: str, path: str, who: str = "ann", **keywords: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}", **keywords.pop("headers", {})}
        return requests.request(method, f"{self.server.url}{path}", headers=headers, timeout=60, **keywords)

    def send_label(self, file: Path, who: str = "ann", **params: object) -> requests.Response:
        with file.open("rb") as stream:
            files = {"label": (file.name, stream)}
            query = {"image": "a", "tag": params.pop("tag", "final")}
            return self.ask("PUT", "/datastore/label", who, params=query, files=files, data={"params": json.dumps(params)})

    def seconds_for_info(self, times: int = 10) -> list[float]:
        spent = []
        for _ in range(times):
            start = time.monotonic()
            assert self.ask("GET", "/info/").status_code == 200
            spent.append(time.monotonic() - start)
        return sorted(spent)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("clients")
    for name in "abc":
        write_volume(image_volume(), folder / "studies" / f"{name}.nii.gz")
    (folder / "studies" / os.fsdecode(b"M\xfcller.nii.gz")).write_bytes(b"x")
    bad = bytearray(gzip.decompress((folder / "studies" / "a.nii.gz").read_bytes()))
    bad[70:72] = (1536).to_bytes(2, "little")
    (folder / "studies" / "long_double.nii").write_bytes(bad)
    write_volume(Volume(np.full((12, 10, 4), 1e39), image_volume().affine, "um"), folder / "studies" / "huge_values.nii.gz")
    publish(weights_path(bundle), copy_bundle(bundle, folder / "server" / "model" / "segresnet"))
    accounts = Accounts(accounts_path(folder / "server"))
    launch = prepare_server(folder / "studies", workspace=folder / "server", port=free_port(), conf={"preset": "tiny"})
    with LabelServer(launch, log=folder / "server" / "server.log") as server:
        yield Lab(server, folder, accounts)


@pytest.mark.row(106, 107, 108)
def test_files_that_cannot_be_read_are_marked_and_the_others_go_on(lab: Lab) -> None:
    wait_until(lambda: lab.ask("GET", "/scoring/", params={"check_if_running": True}).status_code != 200)
    info = lab.ask("GET", "/info/").json()
    assert list(info["minivess"]["skipped"].values()) == ["the name of the file or of a folder is not valid UTF-8: rename it"]
    rows = {row["image"]: row for row in lab.ask("GET", "/review/study").json()["images"]}
    assert {name for name, row in rows.items() if row["unreadable"]} == {"huge_values", "long_double"}
    scores = json.loads((lab.folder / "server" / "model" / "scores.json").read_text())["uncertainty"]
    assert {name for name, row in scores.items() if "error" in row} == {"huge_values", "long_double"}
    assert {name for name, row in scores.items() if "score" in row} == {"a", "b", "c"}
    for path in ("/datastore/?output=all", "/datastore/?output=train"):
        assert lab.ask("GET", path).status_code == 200
    assert lab.ask("POST", "/activelearning/uncertainty", json={}).json()["id"] in "abc"
    lab.ask("POST", "/batch/infer/segresnet", "ada", params={"run_sync": True})
    jobs = lab.ask("GET", "/jobs/?kind=batch_infer").json()
    assert [job["state"] for job in jobs] == ["done"]


@pytest.mark.row(105)
def test_text_that_is_not_unicode_is_refused_everywhere(lab: Lab, tmp_path: Path) -> None:
    label = write_volume(label_volume(), tmp_path / "l.nii.gz")
    assert lab.send_label(label, note="\ud800").status_code == 400
    with (lab.studies / "a.nii.gz").open("rb") as stream:
        sent = lab.ask("PUT", "/datastore/", params={"image": "new"}, files={"file": ("new.nii.gz", stream)},
                       data={"params": json.dumps({"subject": "\ud800"})})  # fmt: skip
    assert sent.status_code == 400
    assert (
        lab.ask("PUT", "/datastore/image/info", "rita", params={"image": "a"}, data={"info": '{"k": "\\ud800"}'}).status_code
        == 400
    )
    for path in ("/datastore/?output=all", "/datastore/label/info?label=a&tag=final", "/info/"):
        assert lab.ask("GET", path).status_code in (200, 404)


@pytest.mark.row(123, 124)
@pytest.mark.parametrize(
    "params",
    [{"base": 10**30}, {"foreground": [1, 2, 3]}, {"foreground": 5}, {"foreground": [["a", "b", "c"]]}, {"\ud800": 1}, {"segmentationMeta": "x"}],
    ids=str,
)  # fmt: skip
def test_values_of_wrong_types_are_refused_or_ignored(lab: Lab, tmp_path: Path, params: dict[str, object]) -> None:
    label = write_volume(label_volume(), tmp_path / "l.nii.gz")
    assert lab.send_label(label, **params).status_code in (200, 400, 422)
    answer = lab.ask("POST", "/infer/segresnet", params={"image": "a", "output": "json"}, data={"params": json.dumps(params)})
    assert answer.status_code in (200, 400, 422), answer.text
    info = lab.ask(
        "PUT", "/datastore/label/info", "rita", params={"label": "a", "tag": "final"}, data={"info": json.dumps(params)}
    )
    assert info.status_code in (200, 400, 404, 422), info.text


@pytest.mark.row(124)
def test_an_upload_does_not_set_the_subject(lab: Lab) -> None:
    with (lab.studies / "a.nii.gz").open("rb") as stream:
        answer = lab.ask("PUT", "/datastore/", params={"image": "new"}, files={"file": ("new.nii.gz", stream)},
                         data={"params": json.dumps({"subject": "m1"})})  # fmt: skip
    assert answer.status_code == 422
    assert "reviewer" in answer.json()["detail"]


@pytest.mark.row(109)
def test_half_sent_requests_are_closed_and_the_others_are_answered(lab: Lab) -> None:
    halves = []
    for _ in range(MAX_CONNECTIONS + 200):
        half = socket.create_connection(lab.address, timeout=120)
        half.sendall(b"GET /info/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        halves.append(half)
    size = lab.server.log.stat().st_size
    spent = lab.seconds_for_info()
    time.sleep(HEADER_TIMEOUT_S + 1.0)
    connections = psutil.Process(lab.server._process.pid).net_connections()  # type: ignore[union-attr]
    assert sum(c.status == psutil.CONN_ESTABLISHED for c in connections) < 20
    assert lab.server.log.stat().st_size - size < 100_000
    print(f"{len(halves)} half requests: /info/ p50 {spent[5]:.3f} s, slowest {spent[-1]:.3f} s")
    for half in halves:
        half.close()


@pytest.mark.row(109)
def test_connections_that_are_kept_open_make_room_for_others(lab: Lab) -> None:
    idle = []
    for _ in range(MAX_CONNECTIONS + 10):
        kept = socket.create_connection(lab.address, timeout=120)
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        idle.append(kept)
    for _ in range(5):  # each with a connection of its own
        assert lab.ask("GET", "/info/").status_code == 200
    for kept in idle:
        kept.close()


@pytest.mark.row(109)
def test_unread_responses_make_room_for_others(lab: Lab) -> None:
    unread = []
    for _ in range(MAX_CONNECTIONS + 1):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(120)
        reader.connect(lab.address)
        reader.sendall(b"GET /app/vendor/niivue.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        unread.append(reader)
    for _ in range(5):  # nobody has read anything yet, and no time is over
        assert lab.ask("GET", "/info/").status_code == 200
    for reader in unread:
        reader.close()


@pytest.mark.row(110, 119)
def test_ready_probes_and_event_streams_are_cheap_or_limited(lab: Lab) -> None:
    stop = threading.Event()

    def probe() -> None:
        while not stop.is_set():
            requests.get(f"{lab.server.url}/readyz", timeout=120)

    threads = [threading.Thread(target=probe) for _ in range(20)]
    for thread in threads:
        thread.start()
    spent = lab.seconds_for_info()
    stop.set()
    for thread in threads:
        thread.join()
    print(f"20 probes of /readyz: /info/ p50 {spent[5]:.3f} s, slowest {spent[-1]:.3f} s")
    streams = [lab.ask("GET", "/jobs/none-such/events", stream=True) for _ in range(3)]
    assert {stream.status_code for stream in streams} == {404}
    results: list[int] = []

    def follow() -> None:
        results.append(lab.ask("GET", f"/jobs/{'x' * 20}/events", stream=True).status_code)

    threads = [threading.Thread(target=follow) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(429) >= 15
    assert lab.ask("GET", f"/jobs/{'x' * 20}/events").status_code == 404  # slots were given back


@pytest.mark.row(112)
def test_a_label_that_claims_more_than_its_image_is_refused_from_the_header(lab: Lab, tmp_path: Path) -> None:
    bomb = nib.Nifti1Image(np.zeros((64, 64, 4), np.uint8), np.diag([0.6, 0.6, 5, 1.0]))
    data = bytearray(bomb.to_bytes())
    data[42:48] = np.array([1024, 1024, 768], np.int16).tobytes()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        stream.write(bytes(data) + bytes(32 * 2**20))
    (tmp_path / "bomb.nii.gz").write_bytes(packed.getvalue())
    process = psutil.Process(lab.server._process.pid)  # type: ignore[union-attr]
    before = process.memory_info().rss
    start = time.monotonic()
    answer = lab.send_label(tmp_path / "bomb.nii.gz")
    assert answer.status_code in (400, 422)
    assert process.memory_info().rss - before < 100 * 2**20
    print(f"a label of 805 MB for an image of 480 voxels: refused in {time.monotonic() - start:.2f} s")


@pytest.mark.row(122)
def test_a_label_whose_file_is_gone_is_named_and_lists_go_on(lab: Lab, tmp_path: Path) -> None:
    assert lab.send_label(write_volume(label_volume(3), tmp_path / "l.nii.gz")).status_code == 200
    with LabelStoreOf(lab.studies) as store:
        head = store.head("a")
    assert head is not None
    content = head.path.read_bytes()
    head.path.unlink()
    gone = lab.ask("GET", f"/labels/a/{head.number}/file")
    assert (gone.status_code, "missing" in gone.json()["detail"]) == (410, True)
    for path in ("/datastore/?output=all", "/datastore/?output=train", "/info/"):
        assert lab.ask("GET", path).status_code == 200
    assert lab.ask("GET", "/datastore/dataset").status_code in (200, 404)
    head.path.write_bytes(b"another file")
    assert lab.ask("GET", f"/labels/a/{head.number}/file").status_code == 410
    head.path.write_bytes(content)
    assert lab.ask("GET", f"/labels/a/{head.number}/file").status_code == 200


class LabelStoreOf:
    def __init__(self, studies: Path) -> None:
        self.store = LabelStore(studies)

    def __enter__(self) -> LabelStore:
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


@pytest.mark.row(116)
def test_a_multipart_form_with_the_boundary_of_another_request_is_read(lab: Lab) -> None:
    body = b'--right\r\nContent-Disposition: form-data; name="files"; filename="x.nii.gz"\r\n\r\n'
    body += (lab.studies / "a.nii.gz").read_bytes() + b"\r\n--right--\r\n"
    answer = lab.ask("PUT", "/session/", data=body, headers={"Content-Type": "multipart/form-data; boundary=wrong"})
    assert answer.status_code == 200, answer.text


@pytest.mark.row(103)
def test_a_second_server_of_the_same_studies_is_refused(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"workspace": tmp_path / "other", "port": free_port(), "conf": {"preset": "tiny"}}
    with pytest.raises(ConflictError, match="Another label server uses"):
        prepare_server(lab.studies, **options)
    monkeypatch.setattr("minivess.server.serve.refuse_second_server", lambda *_: None)  # as MONAI Label's own command starts it
    launch = prepare_server(lab.studies, **options)
    with pytest.raises(Exception, match="Another label server uses"), LabelServer(launch, log=tmp_path / "log"):
        pass
    assert lab.ask("GET", "/info/").status_code == 200


@pytest.mark.row(117)
def test_a_model_by_http_is_checked_and_its_predecessor_is_kept(lab: Lab) -> None:
    weights = weights_path(lab.folder / "server" / "model" / "segresnet")
    before = weights.read_bytes()
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(500), b"\x80\x04K\x01."):
        assert lab.ask("PUT", "/model/segresnet", "ada", files={"file": ("model.pt", content)}).status_code == 422
        assert weights.read_bytes() == before
    assert lab.ask("PUT", "/model/segresnet", "rita", files={"file": ("m", before)}).status_code == 403
    assert lab.ask("PUT", "/model/vessel_path", "ada", files={"file": ("m", before)}).status_code == 404
    tensors, metadata = read_weights(weights)
    write_weights(tensors, lab.folder / "other.safetensors", {**metadata, "note": "another training"})
    noted = (lab.folder / "other.safetensors").read_bytes()
    answer = lab.ask("PUT", "/model/segresnet", "ada", files={"file": ("model.safetensors", noted)})
    assert answer.status_code == 200, answer.text
    assert [kept.read_bytes() for kept in (weights.parent / "previous").glob("*/*.safetensors")] == [before]
    assert lab.ask("DELETE", "/model/segresnet", "ada").status_code == 200
    assert not weights.exists()
    assert lab.ask("PUT", "/model/segresnet", "ada", files={"file": ("model.safetensors", before)}).status_code == 200
    other = save({name: value + 1 for name, value in load(before).items()})
    assert lab.ask("PUT", "/model/segresnet", "ada", files={"file": ("model.safetensors", other)}).status_code == 200
    assert weights.read_bytes() == other
    assert lab.ask("POST", "/model/segresnet/roll_back", "rita").status_code == 403
    assert lab.ask("POST", "/model/segresnet/roll_back", "ada").json()["checksum"] == f"SHA256:{sha256(before).hexdigest()}"
    assert weights.read_bytes() == before
    with LabelStoreOf(lab.studies) as store:
        actions = [entry["action"] for entry in store.journal.audit.entries()]
    assert [action for action in actions if action.startswith("model.")] == [
        "model.replaced", "model.deleted", "model.replaced", "model.replaced", "model.rolled_back",
    ]  # fmt: skip


@pytest.mark.row(132)
def test_the_stock_form_of_a_training_request_is_accepted(lab: Lab) -> None:
    assert lab.ask("POST", "/train/", "ada", json={"model": "nope"}).status_code == 404
    started = lab.ask("POST", "/train/", "ada", json={"model": "segresnet", "max_epochs": 1})
    assert started.status_code == 200, started.text
    lab.ask("DELETE", "/train/", "ada")


@pytest.mark.row(131)
def test_answers_tell_no_folders_of_the_server(lab: Lab) -> None:
    about = lab.ask("GET", "/datastore/image/info", params={"image": "a"}).json()
    assert (about["path"], about["name"]) == ("a.nii.gz", "a.nii.gz")
    accounts = lab.folder / "server" / "accounts.json"
    content = accounts.read_text()
    accounts.write_text("{")
    damaged = lab.ask("GET", "/info/")
    accounts.write_text(content)
    assert damaged.status_code == 503
    assert str(lab.folder) not in damaged.text


@pytest.mark.row(111)
def test_a_prompt_is_a_job(lab: Lab) -> None:
    assert lab.ask("POST", "/infer/segresnet", params={"image": "b", "output": "json"}).status_code == 200
    body = {"tool": "path", "points": [[1, 1, 1], [8, 7, 2]]}
    sent = lab.ask("POST", "/review/images/b/draft/prompt", json=body, headers={"X-Request-ID": "a-prompt-job"})
    assert sent.status_code in (200, 422), sent.text
    assert lab.ask("GET", "/jobs/a-prompt-job").json()["kind"] == "prompt"


@pytest.mark.row(118)
def test_the_server_stops_within_ten_seconds_beside_an_upload(lab: Lab) -> None:
    """The last test of this server."""
    half = socket.create_connection(lab.address, timeout=120)
    head = f"PUT /datastore/label?image=a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {lab.tokens['ann']}\r\n"
    half.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n--x\r\n".encode())
    time.sleep(0.5)
    process = lab.server._process
    assert process is not None
    start = time.monotonic()
    process.terminate()
    process.wait(120)
    print(f"stopped in {time.monotonic() - start:.1f} s")
    assert process.returncode is not None
    half.close()
