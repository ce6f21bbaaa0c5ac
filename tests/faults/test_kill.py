"""Kill -9 at random write points: what was acknowledged is there, nothing is half-written, and it starts again."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from faults.killing import killed_at
from store.conftest import image_volume, label_volume

from minivess.models import weights_path
from minivess.paths import file_sha256
from minivess.server import LabelServer, Launch, prepare_server
from minivess.server.serve import free_port
from minivess.store import LabelStore
from minivess.store.repair import repair_store
from minivess.train import copy_bundle, publish
from minivess.volume import write_volume

ROUNDS = 200


@pytest.mark.requirement("R09")
@pytest.mark.row(42)
def test_no_acknowledged_label_is_lost_and_none_is_half_written(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    write_volume(image_volume(), studies / "a.nii.gz")
    uploads = [write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in range(3)]
    choose, acknowledged, kills = random.Random(0), {}, 0
    for turn in range(ROUNDS):

        def work(say: Callable[[str], None], turn: int = turn) -> None:
            store = LabelStore(studies)
            store.images.scan()
            for index, upload in enumerate(uploads):
                kept = store.submit(upload, image_id="a", actor="ann", tag="final" if index else f"t{turn}")
                say(f"{kept.number} {kept.sha256}")

        killed, said = killed_at(choose.randint(1, 160), work)
        kills += killed
        acknowledged |= dict(line.split() for line in said)
        store = LabelStore(studies)
        kept = {str(r.number): r.sha256 for r in store.history("a")} if store.images.all() else {}
        assert acknowledged.items() <= kept.items(), f"round {turn}"
        assert store.journal.audit.verify().ok
    assert kills > 0.6 * ROUNDS
    assert len(acknowledged) > ROUNDS / 2
    before = store.history("a")
    assert repair_store(store)["faults"] == []
    assert store.history("a") == before
    entered = [e for e in store.journal.audit.entries() if e["action"].startswith("label.")]
    assert {e["details"]["sha256"] for e in entered} >= set(acknowledged.values())
    assert {e["details"]["number"] for e in entered} == {r.number for r in before}


@pytest.mark.row(42)
def test_a_published_model_is_the_old_one_or_the_new_one(tmp_path: Path, bundle: Path) -> None:
    target = copy_bundle(bundle, tmp_path / "bundle")
    versions = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for path, tail in zip(versions, (b"", b"two"), strict=True):
        shutil.copyfile(weights_path(bundle), path)
        path.write_bytes(path.read_bytes() + tail)
    hashes = [file_sha256(path) for path in versions]
    publish(versions[0], target)
    now, kills, choose = 0, 0, random.Random(1)
    for turn in range(ROUNDS):

        def work(say: Callable[[str], None], now: int = now) -> None:
            publish(versions[1 - now], target)
            say("published")

        killed, said = killed_at(choose.randint(1, 16), work)
        kills += killed
        found = file_sha256(weights_path(target))
        assert found in hashes, f"round {turn}"
        assert not said or found == hashes[1 - now], f"round {turn}"
        now = hashes.index(found)
    assert kills > ROUNDS / 4


@pytest.mark.row(42)
@pytest.mark.parametrize("point", range(1, 12))
def test_a_first_start_that_is_killed_is_made_good_by_the_second(tmp_path: Path, point: int) -> None:
    studies = tmp_path / "studies"
    write_volume(image_volume(), studies / "a.nii.gz")

    def work(say: Callable[[str], None]) -> None:
        LabelStore(studies).images.scan()

    killed_at(point, work)
    store = LabelStore(studies)
    store.images.scan()
    assert [c.id for c in store.images.all()] == ["a"]
    assert store.journal.audit.verify().ok


@pytest.mark.row(42)
@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_starts_again_with_every_label_it_acknowledged(tmp_path: Path, rounds: int) -> None:
    studies = tmp_path / "studies"
    for name in "ab":
        write_volume(image_volume(), studies / f"{name}.nii.gz")
    uploads = [write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz").read_bytes() for seed in range(4)]
    choose, acknowledged = random.Random(2), set()

    def submit(launch: Launch, image: str) -> None:
        headers = {"Authorization": f"Bearer {launch.token}"}
        for turn in itertools.count():
            try:
                answer = requests.put(
                    f"{launch.url}/datastore/label", params={"image": image}, headers=headers, timeout=30,
                    files={"label": ("l.nii.gz", uploads[turn % len(uploads)])},
                )  # fmt: skip
            except requests.RequestException:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.add((image, answer.json()["minivess"]["revision"]))

    for turn in range(rounds):
        launch = prepare_server(studies, workspace=tmp_path / "work", port=free_port(), conf={"skip_scoring": "true"})
        with LabelServer(launch, log=tmp_path / f"log{turn}") as server:  # it starts, each time
            with server.get("/readyz") as answer:
                assert answer.status == 200
            threads = [threading.Thread(target=submit, args=(launch, image)) for image in "ab"]
            for thread in threads:
                thread.start()
            time.sleep(choose.uniform(0.02, 1.0))
            os.kill(server._process.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    store = LabelStore(studies)
    assert len(acknowledged) > rounds
    assert {(image, r.number) for image in "ab" for r in store.history(image)} >= acknowledged
    assert store.journal.audit.verify().ok
    assert repair_store(store)["faults"] == []
