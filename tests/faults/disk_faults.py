"""Operations on a store while strace injects faults into their system calls."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume, regions_of

from minivess.errors import MinivessError, UncertainWriteError
from minivess.store import LabelStore
from minivess.store.repair import repair_store
from minivess.store.verification import check_files
from minivess.volume import write_volume

OPERATIONS = 8
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "unlinkat", "openat", "mkdir", "ftruncate")
Work = Callable[[LabelStore, int], None]


def operations(files: Path) -> dict[str, tuple[Work, Callable[[LabelStore, int], bool]]]:
    """Name -> what operation n does, and whether it is in the store; every n leaves a mark of its own."""

    def upload(n: int) -> Path:
        return files / f"{n % 4}.nii.gz"

    def item(store: LabelStore, n: int) -> str:
        return next(i.id for i in store.queue.all("b", limit=-1)[0] if i.id.endswith(f".{n}"))

    return {
        "submit": (
            lambda store, n: store.submit(upload(n), image_id="a", actor="ann", tag=f"s{n}") and None,
            lambda store, n: f"s{n}" in store.heads("a"),
        ),
        "withdraw": (
            lambda store, n: store.withdraw("b", f"w{n}", actor="rita"),
            lambda store, n: f"w{n}" not in store.heads("b"),
        ),
        "restore": (
            lambda store, n: store.restore("b", store.heads("b")[f"r{n}"].number, actor="rita") and None,
            lambda store, n: store.heads("b")[f"r{n}"].info.restored_from is not None,
        ),
        "review": (
            lambda store, n: store.review("b", store.heads("b")["reviewed"].number, "flagged", actor="rita", comment=f"c{n}"),
            lambda store, n: any(row["comment"] == f"c{n}" for row in store.reviews("b")),
        ),
        "info": (
            lambda store, n: store.images.update_info("a", {f"k{n}": n}, actor="ann"),
            lambda store, n: f"k{n}" in store.images.get("a").info,
        ),
        "answer": (
            lambda store, n: store.queue.answer(item(store, n), "accepted", actor="ann", mask="x") and None,
            lambda store, n: store.queue.get(item(store, n)).state == "accepted",
        ),
        "image": (
            lambda store, n: store.images.add(files / "image.nii.gz", image_id=f"new{n}", actor="ann") and None,
            lambda store, n: any(case.id == f"new{n}" for case in store.images.all()),
        ),
    }  # fmt: skip


def make_store(studies: Path, files: Path, plan: list[tuple[str, int]]) -> LabelStore:
    for seed in range(4):
        write_volume(label_volume(seed), files / f"{seed}.nii.gz")
    write_volume(image_volume(9), files / "image.nii.gz")
    for name in "ab":
        write_volume(image_volume(), studies / f"{name}.nii.gz")
    store = LabelStore(studies)
    store.images.scan()
    store.submit(files / "0.nii.gz", image_id="b", actor="ann", tag="reviewed")
    for tag in (f"{name[0]}{n}" for name, n in plan if name in ("withdraw", "restore")):
        store.submit(files / "0.nii.gz", image_id="b", actor="ann", tag=tag)
    store.queue.propose("b", regions_of(*[1.0] * len(plan)), model="m", actor="server")
    return store


def carry_out(studies: Path, plan: list[tuple[str, int, Work]], say: Callable[[str], None]) -> None:
    store: LabelStore | None = None
    for name, n, work in plan:
        try:
            store = store or LabelStore(studies)
            work(store, n)
            say(f"ok {name} {n}")
        except UncertainWriteError as error:
            say(f"uncertain {name} {n}" if "changed" not in str(error) else f"wrong {name} {n} {error}")
        except MinivessError as error:
            say(f"refused {name} {n} {type(error).__name__} {error}".replace("\n", " "))
        except OSError as error:  # an operation that reads the upload may fail so, before anything was written
            say(f"refused {name} {n} {error!r}")
        except BaseException as error:
            say(f"wrong {name} {n} {error!r}")
            raise


def under_faults(fault: str, work: Callable[[Callable[[str], None]], None]) -> list[str]:
    """Run ``work`` in a forked child under strace, which injects ``fault``; return what it said on a socket."""
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        here.close()
        try:
            there.recv(1)  # strace is attached
            work(lambda text: there.send(f"{text}\n".encode()) and None)
        finally:
            os._exit(0)
    there.close()
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", "-p", str(child), "-e", fault], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if "attached" not in line:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.skip(f"this system lets nobody trace a process: {line.strip()}")
    here.send(b"x")
    said = b""
    while part := here.recv(65536):
        said += part
    os.waitpid(child, 0)
    tracer.wait(120)
    tracer.stderr.close()
    here.close()
    return said.decode().splitlines()


def try_faults(tmp_path: Path, rounds: int) -> str:
    """Carry out ``rounds`` times eight operations, each round with a fault of its own; compare what is said with what is stored."""
    studies, files = tmp_path / "studies", tmp_path / "files"
    tried = operations(files)
    choose, refused, uncertain, total = random.Random(rounds), 0, 0, 0
    everything = [(choose.choice(list(tried)), n) for n in range(rounds * OPERATIONS)]
    make_store(studies, files, everything).close()
    for turn in range(rounds):
        plan = everything[turn * OPERATIONS : (turn + 1) * OPERATIONS]
        when = f"{choose.randint(1, 60)}{choose.choice(['', '+', '+', '+3'])}"
        calls = ",".join(choose.sample(CALLS, choose.choice([1, 2, len(CALLS)])))
        fault = f"inject={calls}:error={choose.choice(['EIO', 'ENOSPC', 'EROFS'])}:when={when}"

        said = under_faults(
            fault, lambda say, plan=plan: carry_out(studies, [(name, n, tried[name][0]) for name, n in plan], say)
        )
        assert len(said) == OPERATIONS, (fault, said)
        store = LabelStore(studies)
        store.images.scan()
        for outcome, name, number, *rest in (line.split(" ", 3) for line in said):
            there = tried[name][1](store, int(number))
            assert outcome in ("ok", "refused", "uncertain"), (fault, said)
            if outcome != "uncertain" and there != (outcome == "ok"):
                pytest.fail(f"{fault}: {outcome} {name} {number}, but stored: {there}. {rest}")
            refused, uncertain, total = refused + (outcome == "refused"), uncertain + (outcome == "uncertain"), total + 1
        assert check_files(store.root, store.journal.audit).faults == [], (fault, said)
        store.close()
    store = LabelStore(studies)
    assert refused > rounds
    assert store.journal.audit.verify().ok
    assert repair_store(store)["faults"] == []
    return f"{total} operations: {refused} refused, {uncertain} uncertain, the others are stored"
