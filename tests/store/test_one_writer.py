"""One writer, always: who repairs, upgrades or rebuilds is alone; who shares loses nothing; what was changed by hand is found."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume, regions_of

from minivess.errors import ConflictError, DamagedLabelError, StoreError
from minivess.server_lock import lock_for_server
from minivess.store import LabelStore
from minivess.store.repair import repair_store
from minivess.store.upgrade import upgrade_store
from minivess.store.verification import check_files
from minivess.volume import write_volume

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(studies: Path) -> LabelStore:
    store = LabelStore(studies)
    store.images.scan()
    return store


def in_another_process(work: Callable[[], None]) -> str:
    """Run ``work`` in another process; return what it raised."""
    here, there = FORK.Pipe()

    def run() -> None:
        try:
            work()
            there.send("")
        except Exception as error:  # noqa: BLE001 (it is returned)
            there.send(f"{type(error).__name__}: {error}")

    process = FORK.Process(target=run)
    process.start()
    text: str = here.recv()
    process.join()
    return text


@pytest.mark.row(101)
def test_repair__beside_another_process_is_refused_and_that_process_goes_on(
    store: LabelStore, studies: Path, upload: Path
) -> None:
    before = store.submit(upload, image_id="a", actor="ann")
    assert "uses the store" in in_another_process(lambda: repair_store(LabelStore(studies)) and None)
    assert "uses the store" in in_another_process(lambda: LabelStore(studies).journal.rebuild("a test") and None)
    assert store.submit(upload, image_id="a", actor="ann", tag="next").number == before.number + 1
    store.close()
    assert in_another_process(lambda: repair_store(LabelStore(studies)) and None) == ""


@pytest.mark.row(101)
def test_an_index_that_vanished_under_a_process_is_not_built_by_another_one(
    store: LabelStore, studies: Path, upload: Path
) -> None:
    store.submit(upload, image_id="a", actor="ann")
    (store.root / "index.sqlite").unlink()
    assert "another process uses the store" in in_another_process(lambda: LabelStore(studies) and None)


@pytest.mark.row(102)
def test_a_program_of_another_format_refuses_the_store_and_changes_nothing(
    store: LabelStore, studies: Path, upload: Path
) -> None:
    store.submit(upload, image_id="a", actor="ann")
    files = sorted(p for p in store.root.rglob("*") if p.is_file() and not p.name.startswith("index"))
    before = [p.read_bytes() for p in files]
    for other in (2, 4):
        script = (
            f"import minivess.store.format as f; f.FORMAT = {other}\n"
            "import sys; from minivess.store import LabelStore; LabelStore(sys.argv[1])"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, str(studies)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "format 3" in done.stderr
        assert [p.read_bytes() for p in files] == before


@pytest.mark.row(103)
def test_lock_for_server__one_server_for_each_folder(tmp_path: Path) -> None:
    lock = lock_for_server(tmp_path)
    assert f"process {os.getpid()}" in in_another_process(lambda: lock_for_server(tmp_path) and None)
    with pytest.raises(ConflictError, match="Nothing was changed"):
        lock_for_server(tmp_path)
    lock.release()
    lock_for_server(tmp_path).release()


@pytest.mark.row(114)
def test_check_files__finds_every_change_by_hand(store: LabelStore, upload: Path, tmp_path: Path) -> None:
    first = store.submit(upload, image_id="a", actor="ann")
    second = store.submit(write_volume(label_volume(1), tmp_path / "1.nii.gz"), image_id="a", actor="ann")
    store.review("a", second.number, "rejected", actor="rita")
    store.images.update_info("a", {"subject": "S1"}, actor="rita")
    assert check_files(store.root, store.journal.audit).faults == []
    folder = store.journal.folder("a")
    label_event = folder / f"{second.number:06d}-label.json"
    forged = json.loads(label_event.read_text()) | {"number": 9}

    def exchange_label() -> None:
        other = write_volume(label_volume(7), tmp_path / "other.nii.gz")
        second.path.write_bytes(other.read_bytes())

    changes: dict[str, Callable[[], object]] = {
        "head deleted": lambda: (label_event.unlink(), second.path.unlink()),
        "label exchanged": exchange_label,
        "review turned": lambda: replace_text(folder / "000004-review.json", "rejected", "approved"),
        "actor renamed": lambda: replace_text(label_event, '"ann"', '"mallory"'),
        "subject changed": lambda: replace_text(folder / "000005-info.json", "S1", "S2"),
    }
    for name, change in changes.items():
        kept = {path: path.read_bytes() for path in folder.iterdir()}
        change()
        assert check_files(store.root, store.journal.audit).faults, name
        with pytest.raises(DamagedLabelError) if name in ("head deleted", "label exchanged") else allowed():
            store.label_file(second)
        for path, content in kept.items():
            path.write_bytes(content)
        assert check_files(store.root, store.journal.audit).faults == [], name
    (folder / "000009-label.json").write_text(json.dumps(forged))
    checked = check_files(store.root, store.journal.audit)
    assert [path.name for path in checked.not_in_chain] == ["000009-label.json"]
    assert LabelStore(store.studies).head("a") == second
    assert store.label_file(first) == first.path


class allowed:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.row(114)
def test_a_case_with_a_damaged_event_is_named_and_the_others_go_on(store: LabelStore, studies: Path, upload: Path) -> None:
    revision = store.submit(upload, image_id="a", actor="ann")
    store.submit(upload, image_id="mouse2__b", actor="ann")
    store.close()
    (store.journal.folder("a") / f"{revision.number:06d}-label.json").write_text("{}")
    (store.root / "index.sqlite").unlink()
    again = LabelStore(studies)
    assert again.head("mouse2__b") is not None
    with pytest.raises(StoreError, match="history of a is damaged"):
        again.submit(upload, image_id="a", actor="ann")
    assert again.submit(upload, image_id="mouse2__b", actor="bob", tag="x").number == 3


@pytest.mark.row(128)
@pytest.mark.parametrize("name", ["signing_key.pem", "case_secret"])
def test_audit_chain__without_its_keys_is_refused(store: LabelStore, studies: Path, upload: Path, name: str) -> None:
    store.submit(upload, image_id="a", actor="ann")
    key = store.root / "audit" / name
    content = key.read_bytes()
    key.unlink()
    with pytest.raises(StoreError, match=rf"{name} is missing.*backup"):
        LabelStore(studies)
    assert not key.exists()
    key.write_bytes(content)
    assert LabelStore(studies).journal.audit.verify().ok


@pytest.mark.row(127)
def test_repair__takes_away_what_killed_processes_left(store: LabelStore, studies: Path, upload: Path) -> None:
    store.submit(upload, image_id="a", actor="ann")
    folder = store.journal.folder("a")
    (folder / "000077-0123456789ab.nii.gz").write_bytes(b"orphan")
    (folder / ".submit.x").mkdir()
    (studies / ".uploaded.z.nii.gz").write_bytes(b"refused")
    report = repair_store(store)
    assert (report["faults"], report["set_aside"]) == ([], 1)
    assert not (studies / ".uploaded.z.nii.gz").exists()
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith((".", "000077"))) == []


def _share(studies: Path, files: Path, worker: int, until: float, log: Path) -> None:
    choose = random.Random(worker * 1000 + int(until))
    with log.open("a", buffering=1) as said:
        while time.time() < until:
            try:
                store = LabelStore(studies)
                for _ in range(20):
                    stamp = f"{worker}-{choose.randrange(10**9)}"
                    kind = choose.choice(["label", "label", "answer", "repair"]) if worker % 5 == 0 else "label"
                    if kind == "repair":
                        repair_store(store)
                    elif kind == "answer":
                        item = store.queue.next(f"w{worker}", seconds=60)
                        if item is not None:
                            store.queue.answer(item.id, "accepted", actor=f"w{worker}", mask="x")
                            said.write(f"answer {item.id}\n")
                    else:
                        image = choose.choice("ab")
                        kept = store.submit(files / f"{choose.randrange(4)}.nii.gz", image_id=image, actor="w", tag=f"t{stamp}")
                        said.write(f"label {image} {kept.number} {kept.sha256} {kept.tag}\n")
                    if time.time() > until:
                        break
                store.close()
            except (StoreError, ConflictError):
                time.sleep(0.02)


@pytest.mark.row(101, 45)
@pytest.mark.parametrize(
    ("workers", "seconds"), [(16, 15), pytest.param(16, 1200, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)
def test_sixteen_processes_with_kills_repairs_and_older_versions_lose_nothing(tmp_path: Path, workers: int, seconds: int) -> None:
    studies, files = tmp_path / "studies", tmp_path / "files"
    for seed in range(4):
        write_volume(label_volume(seed), files / f"{seed}.nii.gz")
    for name in "ab":
        write_volume(image_volume(), studies / f"{name}.nii.gz")
    store = LabelStore(studies)
    store.images.scan()
    store.queue.propose("a", regions_of(*[1.0] * 1000), model="m", actor="server")
    store.close()
    until, choose, kills = time.time() + seconds, random.Random(0), 0
    logs = [tmp_path / f"log{worker}" for worker in range(workers)]

    def start(worker: int) -> multiprocessing.process.BaseProcess:
        process = FORK.Process(target=_share, args=(studies, files, worker, until, logs[worker]))
        process.start()
        return process

    running = {worker: start(worker) for worker in range(workers)}
    start_line = "import sys; from pathlib import Path; from minivess.store import LabelStore; studies = Path(sys.argv[1])\n"
    old = start_line + "import minivess.store.format as f; f.FORMAT = 2; LabelStore(studies)"
    second = start_line + (
        "from minivess.server_lock import lock_for_server; store = LabelStore(studies); lock_for_server(store.root)"
    )
    server = lock_for_server(store.root)  # this process is the server of the store
    intruders: list[tuple[str, subprocess.Popen[str]]] = []
    while time.time() < until:
        time.sleep(choose.uniform(0.3, 2.0))
        if choose.random() < 0.3 and (not intruders or intruders[-1][1].poll() is not None):
            program = choose.choice([old, second])
            command = [sys.executable, "-W", "ignore", "-c", program, str(studies)]
            intruders.append((program, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
        worker = choose.randrange(workers)
        if running[worker].is_alive():
            os.kill(running[worker].pid, signal.SIGKILL)  # type: ignore[arg-type]
            running[worker].join()
            kills += 1
            running[worker] = start(worker)
    for process in running.values():
        process.join()
    for _, intruder in intruders:
        said = intruder.communicate()[1]
        assert any(word in said for word in ("format 3", "in use by", "Another label server")), said
    server.release()
    store = LabelStore(studies)
    lines = [line.split() for log in logs if log.exists() for line in log.read_text().splitlines() if line.count(" ") in (1, 4)]
    labels = [line for line in lines if line[0] == "label"]
    answers = [line[1] for line in lines if line[0] == "answer"]
    kept = {(r.image_id, str(r.number)): (r.sha256, r.tag) for image in "ab" for r in store.history(image)}
    print(f"{len(labels)} labels, {len(answers)} answers acknowledged by {workers} processes, {kills} killed")
    print(f"refused: {len(intruders)} processes of an older version or of a second server")
    assert len(labels) > 10
    assert [line for line in labels if kept.get((line[1], line[2])) != (line[3], line[4])] == []
    assert [item for item in answers if store.queue.get(item).state != "accepted"] == []
    assert store.journal.audit.verify().ok
    assert check_files(store.root, store.journal.audit).faults == []
    assert repair_store(store)["faults"] == []
    assert upgrade_store(store.root)["copy"] == ""


@pytest.mark.row(3)
def test_images_add__by_many_at_once_under_one_id_keeps_the_one_that_was_acknowledged(store: LabelStore, tmp_path: Path) -> None:
    uploads = [write_volume(image_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in range(8)]
    acknowledged = FORK.Queue()

    def add(upload: Path) -> None:
        try:
            LabelStore(store.studies).images.add(upload, image_id="new", actor="ann")
        except ConflictError:
            return
        acknowledged.put(upload.read_bytes())

    workers = [FORK.Process(target=add, args=(upload,)) for upload in uploads]
    for worker in workers:
        worker.start()
    taken = acknowledged.get(timeout=60)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert acknowledged.empty()
    assert store.images.get("new").image.read_bytes() == taken


@pytest.mark.row(72)
def test_scan__takes_neither_of_two_twins_and_says_so(store: LabelStore, studies: Path) -> None:
    for name in ("c0.nii", "c0.nii.gz", "a.nrrd"):
        write_volume(image_volume(5), studies / name)
    assert store.images.scan() == []
    assert sorted(store.images.skipped) == ["a.nrrd", "c0.nii", "c0.nii.gz"]
    assert "a.nii.gz beside it" in store.images.skipped["a.nrrd"]
    (studies / "c0.nii").unlink()
    assert store.images.scan() == ["c0"]
