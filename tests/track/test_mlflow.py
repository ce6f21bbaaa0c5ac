"""Trainings in a real MLflow server: sent once, promoted within limits, taken back; nothing lost when the server is away."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from track.test_limits import report
from untrained import untrained_bundle
from waiting import wait_until

from minivess.cli.bundle_source import bundle_folder
from minivess.cli.main import run
from minivess.datasets import TrainingCase
from minivess.datasets.dataset import SEAL_FOLDER
from minivess.errors import InputError, LockoutError, RemoteError
from minivess.evaluate import SealedTestSet, approve_look, count_looks
from minivess.models import weights_path
from minivess.paths import file_sha256, resource_path
from minivess.synth import make_sample
from minivess.track import Limits, Registry, Spool, enqueue_training, send_all
from minivess.track.client import connect
from minivess.volume import write_volume

NAME = "vessels"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    wait_until(lambda: answers(port, "health") or process.poll() is not None, (folder / "log").read_text)
    assert process.poll() is None, (folder / "log").read_text()[-3000:]
    return process


def answers(port: int, path: str) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60).close()
    except OSError:
        return False
    return True


def stop(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    process = start_server(tmp_path_factory.mktemp("mlflow"), port)
    yield f"http://127.0.0.1:{port}"
    stop(process)


def training(folder: Path, threshold: float) -> dict[str, Any]:
    """Return an entry of the spool for a bundle, as a training leaves it."""
    bundle = untrained_bundle(resource_path("bundles/segresnet"), folder / "model", threshold)
    (folder / "run").mkdir()
    (folder / "run" / "log.csv").write_text(
        "epoch,iteration,loss,validation_dice,learning_rate,seconds,epochs\n"
        "1,10,0.9,0.41,0.001,1.5,3\n2,20,0.7,,0.001,3.0,3\n3,30,nan,0.55,0.0005,4.5,3\n"
    )
    image = folder / "image.bin"
    image.write_bytes(b"image")
    return {
        "name": NAME,
        "bundle": str(bundle),
        "weights": str(shutil.copy(weights_path(bundle), folder / "run" / "new.safetensors")),
        "published": True,
        "run": str(folder / "run"),
        "cases": {"training": [{"image": str(image), "label": str(folder / "gone"), "subject": "m1"}]},
        "params": {"epochs": "3", "preset": "tiny"},
        "scores": {"dice": 0.8, "cldice": 0.7},
        "group": "models",
        "start_ms": 1_700_000_000_000,
        "end_ms": 1_700_000_005_000,
    }


def test_a_training_is_there_once_with_its_curves_and_its_bundle(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    number = spool.add(training(tmp_path, 1.0))
    (file, entry) = next(iter(spool.entries()))
    assert send_all(client, spool) == [number]
    file.write_text(json.dumps(entry))  # as if the process had been killed before it removed the entry
    assert send_all(client, spool) == [number]
    assert list(spool.entries()) == []
    experiment = client.get_experiment_by_name("minivess").experiment_id
    (found,) = client.search_runs([experiment], f"tags.`minivess.spool_id` = '{number}'")
    assert found.info.status == "FINISHED"
    assert (found.info.start_time, found.info.end_time) == (entry["start_ms"], entry["end_ms"])
    assert found.data.params == {"epochs": "3", "preset": "tiny"}
    assert [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, "validation_dice")] == [(1, 0.41), (3, 0.55)]
    assert [m.step for m in client.get_metric_history(found.info.run_id, "loss")] == [1, 2]
    assert [m.value for m in client.get_metric_history(found.info.run_id, "held_out_dice")] == [0.8]
    assert found.data.tags["group"] == "models"
    versions = [v for v in client.search_model_versions(f"name = '{NAME}'") if v.run_id == found.info.run_id]
    assert len(versions) == 1
    assert versions[0].tags["weights_sha256"] == file_sha256(weights_path(Path(entry["bundle"])))


def test_the_weights_of_a_training_are_sent_although_the_bundle_has_later_ones(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    entry = {**training(tmp_path, 1.0), "name": "later"}
    sent = file_sha256(Path(entry["weights"]))
    spool.add(entry)
    shutil.copy(
        weights_path(untrained_bundle(resource_path("bundles/segresnet"), tmp_path / "other", 1.5)), entry["bundle"] + "/models"
    )
    assert send_all(client, spool)
    registry = Registry(client, "later")
    assert registry.resolve("challenger") == ("1", sent)
    registry.fetch("challenger", tmp_path / "fetched")
    assert file_sha256(weights_path(tmp_path / "fetched")) == sent


def test_what_the_gate_refused_is_a_run_without_a_model(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    number = spool.add({**training(tmp_path, 1.0), "name": "refused", "published": False})
    send_all(client, spool)
    experiment = client.get_experiment_by_name("minivess").experiment_id
    (found,) = client.search_runs([experiment], f"tags.`minivess.spool_id` = '{number}'")
    assert (found.info.status, found.data.tags["published"]) == ("FINISHED", "False")
    assert client.search_model_versions("name = 'refused'") == []


def test_champion_challenger_promotion_and_roll_back(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MINIVESS_SPOOL", str(tmp_path / "spool"))
    name, client, spool = "promoted", connect(server), Spool(tmp_path / "spool")
    registry = Registry(client, name)
    assert registry.resolve("champion") is None
    with pytest.raises(InputError, match="no challenger"):
        registry.promote({}, Limits())
    hashes = []
    for number, threshold in enumerate((1.0, 1.5)):
        folder = tmp_path / str(number)
        folder.mkdir()
        entry = {**training(folder, threshold), "name": name}
        hashes.append(file_sha256(weights_path(Path(entry["bundle"]))))
        spool.add(entry)
        send_all(client, spool)
        if number == 0:
            first = report(np.full(4, 0.8), np.full(4, 0.8), list("abcd"))
            first["models"]["new"]["weights_sha256"] = hashes[0]
            assert registry.promote(first, Limits()) == "1"
    if hashes[0] == hashes[1]:
        pytest.fail("the two bundles must have different weights")
    old = np.linspace(0.6, 0.9, 6)
    for new, allowed in ((old - 0.05, False), (old + 0.03, True)):
        content = report(new, old, list("abcdef"))
        content["models"] = {"new": {"weights_sha256": hashes[1]}, "old": {"weights_sha256": hashes[0]}}
        if allowed:
            assert registry.promote(content, Limits()) == "2"
        else:
            with pytest.raises(LockoutError, match="not promoted"):
                registry.promote(content, Limits())
            assert registry.resolve("champion") == ("1", hashes[0])
    assert run(["track", "fetch", name, "--out", str(tmp_path / "champion")]) == 0
    assert file_sha256(weights_path(tmp_path / "champion")) == hashes[1]
    assert (tmp_path / "champion" / "configs" / "inference.yaml").is_file()
    package = tmp_path / "package"
    assert run(["map", "build", f"models:/{name}@champion", "--folder", str(package), "--no-packages"]) == 0
    assert hashes[1] in {file_sha256(file) for file in package.rglob("model.safetensors")}
    copy = bundle_folder(f"models:/{name}@champion", tmp_path / "registry")
    assert (copy.name, file_sha256(weights_path(copy))) == (f"{name}-2", hashes[1])
    made = weights_path(copy).stat().st_mtime_ns
    assert weights_path(bundle_folder(f"models:/{name}@champion", tmp_path / "registry")).stat().st_mtime_ns == made
    for wrong in (f"models:/{name}/2", f"models:/{name}@", "models:/../x@champion"):
        assert run(["map", "build", wrong, "--folder", str(tmp_path / "no")]) == 2
    assert run(["map", "build", "models:/unknown@champion", "--folder", str(tmp_path / "no")]) == 1
    assert not (tmp_path / "no").exists()
    assert run(["track", "roll-back", name]) == 0
    assert run(["track", "status", name]) == 0
    assert f"champion: version 1, weights {hashes[0][:16]}" in capsys.readouterr().out
    with pytest.raises(InputError, match="none before it"):
        registry.roll_back()


@pytest.mark.requirement("R16")
def test_promotion_on_the_sealed_test_set_takes_one_look_and_tells_no_number(
    server: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    (tmp_path / "limits.yaml").write_text("subjects: 1\n")
    name, client, spool = "judged-sealed", connect(server), Spool(tmp_path / "spool")
    promote = ["track", "promote", name, "--sealed", str(data), "--limits", str(tmp_path / "limits.yaml")]

    def send(threshold: float) -> None:
        folder = tmp_path / str(threshold)
        folder.mkdir()
        spool.add({**training(folder, threshold), "name": name})
        send_all(client, spool)

    send(1.0)
    assert run(promote) == 1
    assert "are not sealed" in capsys.readouterr().err
    assert run(["testset", "seal", str(data), "--looks", "2"]) == 0
    sealed = SealedTestSet(data / SEAL_FOLDER)
    assert run(promote) == 1, "nobody has approved it"
    assert count_looks(sealed) == 0
    approve_look(sealed, reason="first release", actor="boss")
    capsys.readouterr()
    assert run(promote) == 0
    assert "Look 1 of 2 at the sealed test set" in capsys.readouterr().out
    assert Registry(client, name).resolve("champion") == Registry(client, name).resolve("challenger")
    send(1.5)
    approve_look(sealed, reason="second release", actor="boss")
    assert run(promote) == 1
    said = capsys.readouterr().err
    assert "Version 2 of judged-sealed is not promoted: outside the limits of" in said
    (sentence,) = (line for line in said.splitlines() if "is not promoted" in line)
    assert "0." not in sentence, "no score is told"
    champion = Registry(client, name).resolve("champion")
    assert champion is not None
    assert champion[0] == "1"
    answers = [entry["details"]["promoted"] for entry in sealed.chain.entries() if entry["action"] == "testset.answer"]
    assert answers == [True, False]
    assert count_looks(sealed) == 2
    assert run(promote) == 1, "the looks are used up"
    assert run([*promote, "--report", str(tmp_path / "limits.yaml")]) == 2


def test_weights_that_were_changed_in_the_registry_are_not_given(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    spool.add({**training(tmp_path, 1.0), "name": "tampered"})
    send_all(client, spool)
    registry = Registry(client, "tampered")
    version = registry.resolve("challenger")
    assert version is not None
    client.set_model_version_tag("tampered", version[0], "weights_sha256", "0" * 64)
    with pytest.raises(LockoutError, match="not those that were registered"):
        registry.fetch("challenger", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_configuration_that_was_changed_in_the_registry_is_not_given(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    spool.add({**training(tmp_path, 1.0), "name": "configured"})
    send_all(client, spool)
    registry = Registry(client, "configured")
    version = registry.resolve("challenger")
    assert version is not None
    registry.fetch("challenger", tmp_path / "out")
    run_id = client.get_model_version("configured", version[0]).run_id
    file = tmp_path / "out" / "configs" / "inference.yaml"
    file.write_text(file.read_text().replace("threshold: expected_dice", "threshold: 0.999"))
    client.log_artifact(run_id, str(file), "bundle/configs")
    with pytest.raises(LockoutError, match=r"configs/inference\.yaml .* is not the registered one"):
        registry.fetch("challenger", tmp_path / "again")


def test_a_copy_that_was_changed_is_not_served(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    spool.add({**training(tmp_path, 1.0), "name": "cached"})
    send_all(client, spool)
    registry = Registry(client, "cached")
    folder = registry.fetch_below("challenger", tmp_path / "copies")
    assert registry.fetch_below("challenger", tmp_path / "copies") == folder
    file = folder / "configs" / "inference.yaml"
    file.write_text(file.read_text().replace("threshold: expected_dice", "threshold: 0.999"))
    with pytest.raises(LockoutError, match="is not version 1 of cached as it was registered"):
        registry.fetch_below("challenger", tmp_path / "copies")


def test_the_configuration_of_a_training_is_registered_although_the_bundle_has_another_one(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIVESS_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # away
    entry = training(tmp_path, 1.0)
    bundle = Path(entry["bundle"])
    assert enqueue_training(
        bundle,
        weights=Path(entry["weights"]),
        published=True,
        run=Path(entry["run"]),
        cases={},
        params={},
        seconds=1,
        name="kept",
    )
    file = bundle / "configs" / "inference.yaml"
    before = file.read_text()
    file.write_text(before.replace("threshold: expected_dice", "threshold: 0.999"))
    client = connect(server)
    wait_until(lambda: send_all(client, Spool(tmp_path / "spool")), str)  # the process that was started holds the lock at first
    Registry(client, "kept").fetch("challenger", tmp_path / "fetched")
    assert (tmp_path / "fetched" / "configs" / "inference.yaml").read_text() == before


def test_a_proxys_page_with_status_400_is_no_refusal(tmp_path: Path) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(400)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>The plain HTTP request was sent to HTTPS port</html>")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    page = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    spool = Spool(tmp_path / "spool")
    spool.add(training(tmp_path, 1.0))
    try:
        with pytest.raises(RemoteError, match="1 trainings wait"):
            send_all(connect(f"http://127.0.0.1:{page.server_port}"), spool)
    finally:
        page.shutdown()
        page.server_close()
    assert len(list(spool.entries())) == 1
    assert not list(spool.folder.glob("*.unsendable"))


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "foo://bar"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(RemoteError, match="Allowed: an address such as http://"):
        connect(address)


def test_a_label_server_starts_with_a_model_of_the_registry(server: str, tmp_path: Path) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    entry = {**training(tmp_path, 1.0), "name": "served"}
    spool.add(entry)
    send_all(client, spool)
    write_volume(make_sample("capillary", 0, shape=(64, 64, 8)).image, tmp_path / "studies" / "a.nii.gz")
    port, workspace = free_port(), tmp_path / "workspace"
    words = ["serve", tmp_path / "studies", "--workspace", workspace, "--port", port, "--bundle", "models:/served@challenger"]
    command = [sys.executable, "-m", "minivess", *map(str, words)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server, "MINIVESS_SPOOL": str(tmp_path / "spool")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: answers(port, "healthz") or process.poll() is not None, (tmp_path / "log").read_text)
        assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        served = {file_sha256(file) for file in workspace.rglob("model.safetensors")}
        assert served == {file_sha256(weights_path(Path(entry["bundle"])))}
    finally:
        if process.poll() is None:
            stop(process)


class LoginPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Please log in</html>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def login_page() -> Iterator[str]:
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LoginPage)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{page.server_address[1]}"
    page.shutdown()
    page.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.requirement("R26")
@pytest.mark.row(52)
@pytest.mark.parametrize("kind", ["dead", "login_page", "silent"])
def test_nothing_is_lost_and_nobody_waits_for_a_server_that_is_away(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{free_port()}" if kind == "dead" else request.getfixturevalue(kind)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MINIVESS_SPOOL", str(tmp_path / "spool"))
    entry = training(tmp_path, 1.0)
    left = enqueue_training(
        Path(entry["bundle"]),
        name=NAME,
        weights=Path(entry["weights"]),
        published=True,
        run=Path(entry["run"]),
        cases={"training": [TrainingCase(tmp_path / "image.bin", tmp_path / "gone", "m1")]},
        params=entry["params"],
        seconds=5.0,
    )
    assert left
    with pytest.raises(RemoteError, match="1 trainings wait"):
        send_until_alone(connect(address), Spool())
    assert len(list(Spool().entries())) == 1


def send_until_alone(client: Any, spool: Spool) -> None:
    """Send; the process that the training started may be at it."""
    while True:
        send_all(client, spool)
        time.sleep(0.2)


@pytest.mark.requirement("R26")
def test_a_server_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    port, spool = free_port(), Spool(tmp_path / "spool")
    process = start_server(tmp_path, port)
    client = connect(f"http://127.0.0.1:{port}")
    numbers = []
    for index in range(4):
        folder = tmp_path / str(index)
        folder.mkdir()
        numbers.append(spool.add({**training(folder, 1.0 + index / 10), "name": "killed"}))
    failed: list[Exception] = []

    def work() -> None:
        try:
            send_all(client, spool)
        except RemoteError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while len(list(spool.entries())) == 4:
        time.sleep(0.05)
    stop(process)
    thread.join()
    assert failed
    assert 1 <= len(list(spool.entries())) <= 3
    process = start_server(tmp_path, port)
    try:
        send_all(client, spool)
        assert list(spool.entries()) == []
        experiment = client.get_experiment_by_name("minivess").experiment_id
        runs = client.search_runs([experiment])
        assert sorted(r.data.tags["minivess.spool_id"] for r in runs) == sorted(numbers)
        assert {r.info.status for r in runs} == {"FINISHED"}
        versions = client.search_model_versions("name = 'killed'")
        assert len({v.run_id for v in versions}) == len(versions) == 4
    finally:
        stop(process)


def test_without_a_server_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MINIVESS_SPOOL", str(tmp_path / "spool"))
    assert not enqueue_training(tmp_path, weights=tmp_path, published=True, run=tmp_path, cases={}, params={}, seconds=0.0)
    assert not (tmp_path / "spool").exists()
    with pytest.raises(RemoteError, match="MLFLOW_TRACKING_URI"):
        connect()


def test_a_bundle_that_is_gone_is_named(server: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    entry = training(tmp_path, 1.0)
    spool.add(entry)
    spool.add(training(tmp_path / "later", 1.0))
    shutil.rmtree(entry["bundle"])
    with pytest.raises(InputError, match=r"1 trainings were sent.* are gone.* put aside"):
        send_all(connect(server), spool)
    assert list(spool.entries()) == []
    assert len(list(spool.folder.glob("*.unsendable"))) == 1


@pytest.mark.parametrize("damaged", ["{}", "[1]", "{", '{"id": 5}'])
def test_a_damaged_entry_holds_up_no_other(server: str, tmp_path: Path, damaged: str) -> None:
    spool = Spool(tmp_path / "spool")
    spool.folder.mkdir()
    (spool.folder / "0.json").write_text(damaged)
    spool.add(training(tmp_path, 1.0))
    with pytest.raises(InputError, match=r"1 trainings were sent.*0\.json of the spool is damaged.*put aside as 0\.unsendable"):
        send_all(connect(server), spool)
    assert list(spool.entries()) == []


def test_a_row_that_a_killed_training_did_not_end_is_left_out(server: str, tmp_path: Path) -> None:
    entry, spool = training(tmp_path, 1.0), Spool(tmp_path / "spool")
    log = Path(entry["run"]) / "log.csv"
    log.write_text(log.read_text().rstrip("\n") + "\n3,0.")
    spool.add(entry)
    client = connect(server)
    (number,) = send_all(client, spool)
    experiment = client.get_experiment_by_name("minivess")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`minivess.spool_id` = '{number}'")
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2  # the third is nan


def test_an_upload_that_was_cut_off_is_made_complete_before_the_model_is_registered(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    entry = {**training(tmp_path, 1.0), "name": "cut off"}
    models = weights_path(Path(entry["bundle"])).parent
    (models / "zones.json").write_text("{}")
    spool.add(entry)
    send = client.log_artifact

    def times_out(run_id: str, file: str, folder: str) -> None:
        if file.endswith(".safetensors"):
            raise TimeoutError("timed out")
        send(run_id, file, folder)

    with monkeypatch.context() as patched:
        patched.setattr(client, "log_artifact", times_out)
        with pytest.raises(RemoteError, match="timed out"):
            send_all(client, spool)
    assert client.search_model_versions("name = 'cut off'") == []
    assert send_all(client, spool)
    Registry(client, "cut off").fetch("challenger", tmp_path / "fetched")
    assert {file.name for file in (tmp_path / "fetched" / "models").iterdir()} >= {"model.safetensors", "zones.json"}


def test_odd_names_are_sent_and_what_is_refused_holds_nobody_up(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, spool = connect(server), Spool(tmp_path / "spool")
    for folder in "ab":
        (tmp_path / folder).mkdir()
    odd = {**training(tmp_path / "a", 1.0), "name": "lab's/net:1", "params": {"loss#cldice_weight": "0.0"}}
    number = spool.add(odd)
    later: list[str] = []
    log_text = client.log_text

    def log_and_end_another_training(*given: str) -> None:
        if not later:  # it found the lock taken
            later.append(spool.add({**training(tmp_path / "b", 1.0), "name": "later one"}))
        log_text(*given)

    with monkeypatch.context() as patched:
        patched.setattr(client, "log_text", log_and_end_another_training)
        assert send_all(client, spool) == [number, *later]
    experiment = client.get_experiment_by_name("minivess").experiment_id
    (found,) = client.search_runs([experiment], f"tags.`minivess.spool_id` = '{number}'")
    assert found.data.params == {"loss_cldice_weight": "0.0"}
    assert Registry(client, "lab_s_net_1").resolve("challenger")
