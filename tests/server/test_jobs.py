"""Jobs over HTTP, on a real server: followed, stopped, urgent ones first."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from starlette.exceptions import HTTPException
from untrained import untrained_bundle
from waiting import wait_until

from minivess.jobs import Job
from minivess.models import weights_path
from minivess.server import Accounts, LabelServer, prepare_server
from minivess.server.accounts import Account
from minivess.server.routes.jobs import check_may_stop
from minivess.server.routes.monai_tasks import stop
from minivess.server.serve import free_port
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, segresnet: Path) -> Iterator[LabelServer]:
    folder = tmp_path_factory.mktemp("jobs")
    bundle = untrained_bundle(segresnet, folder / "made" / "segresnet", small=False)  # what is stopped takes its time
    noise = np.random.default_rng(0)
    for name, shape in (("small", (64, 64, 8)), ("large-a", (256, 256, 32)), ("large-b", (256, 256, 32))):
        array = noise.integers(0, 255, shape, dtype=np.uint8)
        write_volume(Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), "um"), folder / "studies" / f"{name}.nii.gz")
    target = copy_bundle(bundle, folder / "server" / "model" / "segresnet")
    publish(weights_path(bundle), target)
    people = Accounts(folder / "server" / "accounts.json")
    tokens = {role: people.add(f"a-{role}", role) for role in ("reader", "annotator", "reviewer")}
    launch = prepare_server(
        folder / "studies", workspace=folder / "server", port=free_port(),
        conf={"preset": "tiny", "skip_scoring": "false", "epistemic_enabled": "false"},
    )  # fmt: skip
    with LabelServer(launch, log=folder / "server" / "server.log") as running:
        running.tokens = {**tokens, "admin": launch.token}
        yield running


def ask(server: LabelServer, method: str, path: str, role: str = "annotator", **keywords: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.tokens[role]}", **keywords.pop("headers", {})}
    return requests.request(method, f"{server.url}{path}", headers=headers, timeout=keywords.pop("timeout", 120), **keywords)


def infer(server: LabelServer, image: str, request_id: str = "", **params: object) -> requests.Response:
    headers = {"X-Request-ID": request_id} if request_id else {}
    query = {"image": image, "output": "json"}
    return ask(server, "POST", "/infer/segresnet", params=query, data={"params": json.dumps(params)}, headers=headers)


def aside(work: object) -> tuple[threading.Thread, list]:
    answers: list = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    return thread, answers


def events(server: LabelServer, job_id: str) -> Iterator[tuple[str, dict]]:
    with ask(server, "GET", f"/jobs/{job_id}/events", stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                name = line[7:]
            if line.startswith("data: "):
                yield name, json.loads(line[6:])


def state(server: LabelServer, job_id: str) -> dict:
    return ask(server, "GET", f"/jobs/{job_id}").json()


def wait_for_job(server: LabelServer, job_id: str, condition: Callable[[dict], bool]) -> None:
    def reached() -> bool:
        job = state(server, job_id)
        assert condition(job) or job.get("state", "queued") in ("queued", "running"), job  # it may not be there yet
        return condition(job)

    wait_until(reached, lambda: state(server, job_id))


def test_an_inference_is_followed_by_the_id_of_its_request(server: LabelServer) -> None:
    thread, answers = aside(lambda: infer(server, "large-a", "follow-me-1"))
    seen = list(events(server, "follow-me-1"))
    thread.join()
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].headers["X-Request-ID"] == "follow-me-1"
    shares = [job["progress"] for _, job in seen]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) >= 3
    assert seen[-1][0] == "done"
    assert seen[-1][1]["progress"] == 1.0
    assert set(seen[-1][1]["steps"]) == {"pre", "infer", "post", "write"}
    assert "large-a" not in json.dumps(seen)


def test_cancel_takes_less_than_a_second_and_the_next_one_works(server: LabelServer) -> None:
    thread, answers = aside(lambda: infer(server, "large-a", "cancel-me-1"))
    wait_for_job(server, "cancel-me-1", lambda job: job.get("progress", 0) > 0.05)
    refused = ask(server, "DELETE", "/jobs/cancel-me-1", "reader")
    assert refused.status_code == 403
    assert not thread.is_alive() or ask(server, "DELETE", "/jobs/cancel-me-1").status_code == 200
    thread.join(60)
    assert answers[0].status_code == 409
    assert "cancelled by a-annotator" in answers[0].json()["detail"]
    job = state(server, "cancel-me-1")
    assert job["state"] == "cancelled"
    assert infer(server, "small").status_code == 200


def test_an_inference_whose_client_goes_away_is_stopped(server: LabelServer) -> None:
    client = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)
    headers = {"Authorization": f"Bearer {server.tokens['annotator']}", "X-Request-ID": "gone-away-1"}
    client.request("POST", "/infer/segresnet?image=large-a", headers=headers)
    wait_for_job(server, "gone-away-1", lambda job: job.get("progress", 0) > 0.05)
    client.close()
    wait_for_job(server, "gone-away-1", lambda job: job["state"] == "cancelled")
    assert "disconnected" in state(server, "gone-away-1")["message"]


def test_a_deadline_is_kept_and_a_silly_one_refused(server: LabelServer) -> None:
    answer = infer(server, "large-a", timeout=0.1)
    assert answer.status_code == 504
    assert "0.1 s" in answer.json()["detail"]
    assert infer(server, "small", timeout=-1).status_code == 400
    assert infer(server, "small", timeout="soon").status_code == 400


def test_a_click_goes_before_a_batch(server: LabelServer) -> None:
    started = ask(server, "POST", "/batch/infer/segresnet", "admin", json={"label_tag": "batch"})
    assert started.status_code == 200, started.text
    job_id = started.json()["id"]
    assert ask(server, "POST", "/batch/infer/segresnet", "admin", json={}).status_code == 429
    wait_for_job(server, job_id, lambda job: job["progress"] > 0.01)
    assert infer(server, "small").status_code == 200
    assert state(server, job_id)["state"] in ("running", "queued")
    assert ask(server, "GET", "/batch/infer", params={"check_if_running": True}).json()["id"] == job_id
    wait_for_job(server, job_id, lambda job: job["state"] == "done")
    assert state(server, job_id)["result"] == {"images": 3}
    assert ask(server, "GET", "/batch/infer").json()["status"] == "DONE"
    assert ask(server, "HEAD", "/datastore/label", params={"image": "large-b", "tag": "batch"}).status_code in (200, 405)
    assert ask(server, "GET", "/datastore/label", params={"label": "large-b", "tag": "batch"}).status_code == 200


def test_a_batch_is_stopped(server: LabelServer) -> None:
    job_id = ask(server, "POST", "/batch/infer/segresnet", "admin", json={}).json()["id"]
    wait_for_job(server, job_id, lambda job: job["progress"] > 0.01)
    assert ask(server, "DELETE", "/batch/infer").status_code == 403
    assert ask(server, "DELETE", "/batch/infer", "admin").json()["status"] == "STOPPED"
    assert ask(server, "GET", "/batch/infer", params={"check_if_running": True}).status_code == 404


def test_a_training_without_labels_fails_in_words_and_a_running_one_is_stopped(server: LabelServer, tmp_path: Path) -> None:
    job_id = ask(server, "POST", "/train/segresnet", "admin", json={"max_epochs": 500}).json()["id"]
    wait_for_job(server, job_id, lambda job: job["state"] == "failed")
    assert "Submit a label first" in state(server, job_id)["message"]
    label = np.zeros((64, 64, 8), np.uint8)
    label[20:40, 20:40] = 1
    file = write_volume(Volume(label, np.diag([1.0, 1.0, 2.0, 1.0]), "um"), tmp_path / "l.nii.gz")
    with file.open("rb") as stream:
        sent = ask(server, "PUT", "/datastore/label", params={"image": "small"}, files={"label": ("l.nii.gz", stream)})
    assert sent.status_code == 200, sent.text
    job_id = ask(server, "POST", "/train/segresnet", "admin", json={"max_epochs": 500}).json()["id"]
    assert ask(server, "POST", "/train/segresnet", "admin", json={}).status_code == 429
    wait_for_job(server, job_id, lambda job: "epoch" in job["message"])
    running = ask(server, "GET", "/train/", params={"check_if_running": True}).json()
    assert running["status"] == "RUNNING"
    assert running["details"]
    stopped = ask(server, "DELETE", "/train/", "admin").json()
    assert stopped["status"] == "STOPPED"
    assert ask(server, "GET", "/train/", params={"check_if_running": True}).status_code == 404


def test_jobs_are_listed_and_unknown_ones_named(server: LabelServer) -> None:
    listed = ask(server, "GET", "/jobs/", "reader", params={"kind": "infer"}).json()
    assert {"follow-me-1", "cancel-me-1"} <= {job["id"] for job in listed}
    assert ask(server, "GET", "/jobs/", params={"running": True}).json() == []
    assert ask(server, "GET", "/jobs/none-such").status_code == 404
    assert ask(server, "GET", "/jobs/none-such/events").status_code == 404
    assert ask(server, "GET", "/jobs/", params={"kind": "x"}).status_code == 422


def test_numbers_for_prometheus_and_a_log_without_names(server: LabelServer) -> None:
    assert requests.get(f"{server.url}/metrics", timeout=120).status_code == 401
    infer(server, "small", "find-me-in-the-log")
    text = ask(server, "GET", "/metrics", "reader").text
    assert 'http_route="/infer/{model}"' in text
    assert 'minivess_images{state="all"} 3.0' in text

    def mine_of(log: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
        return [line for line in lines if line.get("request_id") == "find-me-in-the-log"]

    wait_until(lambda: mine_of(server.log.read_text()))  # it is written after the reply
    log = server.log.read_text()
    assert all(json.loads(line)["message"] for line in log.splitlines()), "also what MONAI Label says at the start"
    mine = mine_of(log)[0]
    assert (mine["route"], mine["status"], mine["user"]) == ("/infer/{model}", 200, "a-annotator")
    for name in ("small", "large-a", str(server.launch.token)):
        assert name not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_server_that_is_stopped_stops_its_jobs_and_leaves_no_process(
    tmp_path: Path, bundle: Path, dataset: Path, number: signal.Signals
) -> None:
    studies = tmp_path / "studies"
    (studies / "labels" / "final").mkdir(parents=True)
    for name in ("stack0", "stack1"):
        shutil.copy(dataset / "images" / f"{name}.nii.gz", studies)
    shutil.copy(dataset / "labels" / "stack0.nii.gz", studies / "labels" / "final")
    copy_bundle(bundle, tmp_path / "w" / "model" / "segresnet")
    launch = prepare_server(studies, workspace=tmp_path / "w", port=free_port(), conf={"preset": "tiny"})
    with LabelServer(launch, log=tmp_path / "log") as running:
        running.tokens = dict.fromkeys(("annotator", "admin"), launch.token)
        first = ask(running, "POST", "/train/segresnet", "admin", json={"max_epochs": 1}).json()["id"]
        wait_for_job(running, first, lambda job: job["state"] == "done")
        scorings = lambda: ask(running, "GET", "/jobs/", "admin", params={"kind": "scoring"}).json()  # noqa: E731
        wait_until(lambda: [job["state"] for job in scorings()] == ["done"])  # the new model scores what has no label
        assert scorings()[0]["result"] == {"images": 1}
        job_id = ask(running, "POST", "/train/segresnet", "admin", json={"max_epochs": 500}).json()["id"]
        listener, seen = aside(lambda: until_cut_off(running, job_id))
        wait_for_job(running, job_id, lambda job: "epoch" in job["message"])
        pid = json.loads((tmp_path / "w" / "model" / "train_stats.json").read_text())["pid"]
        assert Path(f"/proc/{pid}").exists()
        running._process.send_signal(number)
        running._process.wait(120)
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
        listener.join(60)
        if number == signal.SIGTERM:
            assert seen[0][-1][0] == "cancelled"


def until_cut_off(server: LabelServer, job_id: str) -> list[tuple[str, dict]]:
    seen = []
    with contextlib.suppress(requests.RequestException):
        seen.extend(events(server, job_id))
    return seen


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preset": "nope"}, "one of full, tiny"),
        ({"preset": []}, "one of full, tiny"),
        ({"val_split": "abc"}, "a share from 0 to below 1"),
        ({"max_epochs": -1}, "a whole number"),
        ({"seed": None}, "a whole number"),
        ({"pretrained": "yes"}, "true or false"),
    ],
)
def test_a_training_with_a_wrong_value_is_not_started(server: LabelServer, params: dict[str, object], message: str) -> None:
    refused = ask(server, "POST", "/train/segresnet", "admin", json=params)
    assert refused.status_code == 400, refused.text
    assert message in refused.json()["detail"]


def test_a_refused_roll_back_is_not_recorded_as_done(server: LabelServer) -> None:
    def recorded() -> int:
        chain = next(server.log.parent.parent.rglob("audit/chain.jsonl"))
        return chain.read_text().count("model.rolled_back")

    before = recorded()
    assert ask(server, "POST", "/model/segresnet/roll_back", "admin").status_code == 409
    assert recorded() == before


def test_an_annotator_stops_no_scoring_of_others() -> None:
    job = Job("scoring", "uncertainty", actor="ada")

    class Open:
        def open(self, _: str) -> list[Job]:
            return [] if job.over else [job]

    with pytest.raises(HTTPException, match="started by another user"):
        stop(Open(), "scoring", Account("ann", "annotator"))
    assert job.state == "queued"
    own = Job("scoring", "sum", actor="ann")
    check_may_stop(Account("ann", "annotator"), own)
    check_may_stop(Account("rita", "reviewer"), job)


@pytest.mark.parametrize("path", ["", "/draft", "/draft/mask", "/volume"])
def test_a_name_that_is_none_is_refused_everywhere(server: LabelServer, path: str) -> None:
    assert ask(server, "GET", f"/review/images/{'x' * 300}{path}").status_code == 400
