"""Cases and revisions: what is stored, which revision is current, what is refused."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from store.conftest import AFFINE, image_volume, label_volume

from minivess.errors import (
    ConflictError,
    GeometryError,
    InputError,
    MinivessError,
    NotFoundError,
    OutputError,
    StoreError,
    UnsafeFileError,
)
from minivess.errors import UnsupportedFormatError as Unsupported
from minivess.store import LabelStore, RevisionInfo
from minivess.store.journal import on_disk
from minivess.store.repair import repair_store
from minivess.volume import Volume, read_volume, reorient, write_volume


@pytest.fixture
def store(studies: Path) -> LabelStore:
    store = LabelStore(studies)
    store.images.scan()
    return store


def state(store: LabelStore) -> tuple[object, ...]:
    files = sorted(str(p.relative_to(store.root)) for p in (store.root / "cases").rglob("*"))
    rows = [
        tuple(r) for table in ("cases", "revisions") for r in store.journal.index.connection.execute(f"SELECT * FROM {table}")
    ]
    return files, rows, len(list(store.journal.audit.entries()))


def test_scan__images_in_sub_folders_become_cases_and_are_not_moved(store: LabelStore, studies: Path) -> None:
    assert {c.id: c.image for c in store.images.all()} == {"a": studies / "a.nii.gz", "mouse2__b": studies / "mouse2" / "b.nrrd"}
    assert store.images.scan() == []
    store.images.update_info("a", {"subject": "mouse1"}, actor="ann")
    assert store.images.get("a").subject == "mouse1"
    assert store.images.get("mouse2__b").subject == "mouse2__b"


def test_submit__records_actor_base_info_and_voxels(store: LabelStore, upload: Path) -> None:
    revision = store.submit(upload, image_id="a", actor="ann", info=RevisionInfo(params={"client": "slicer"}))
    assert store.head("a") == revision
    assert (revision.actor, revision.base, revision.state) == ("ann", None, "current")
    assert revision.info == RevisionInfo(voxels={"vessel": int(label_volume().array.sum())}, params={"client": "slicer"})
    assert read_volume(revision.path).same_grid(image_volume())
    assert np.array_equal(read_volume(revision.path).array, label_volume().array)
    assert [c.id for c in store.images.all(labelled=True)] == ["a"]
    assert store.counts() == {"final": 1}
    assert store.journal.audit.verify().ok


def test_restore__returns_every_revision_bit_for_bit_and_overwrites_none(store: LabelStore, tmp_path: Path) -> None:
    files = [write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in range(3)]
    revisions = [store.submit(file, image_id="a", actor="ann") for file in files]
    assert [r.state for r in store.history("a")] == ["superseded", "superseded", "current"]
    assert [r.base for r in revisions] == [None, revisions[0].number, revisions[1].number]
    restored = store.restore("a", revisions[0].number, actor="rita")
    assert restored.sha256 == revisions[0].sha256
    assert restored.info.restored_from == revisions[0].number
    assert store.head("a") == restored
    assert len(store.history("a")) == 4
    store.withdraw("a", "final", actor="rita")
    assert store.head("a") is None
    assert len(store.history("a")) == 4


@pytest.mark.requirement("R09")
@pytest.mark.row(47)
def test_submit__from_one_base_by_two_annotators_stores_both_and_reports_a_conflict(store: LabelStore, tmp_path: Path) -> None:
    first, second = (write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in (1, 2))
    for user in ("ann", "bob"):
        store.leases.record_served("a", "final", user)
    revision = store.submit(first, image_id="a", actor="ann")
    for _ in range(2):  # also when the client repeats the request
        with pytest.raises(ConflictError, match=r"stored as revision 3.*no revision.*ann submitted revision 2"):
            store.submit(second, image_id="a", actor="bob")
    assert store.head("a") == revision
    (rival,) = store.conflicting()
    assert np.array_equal(read_volume(rival.path).array, label_volume(2).array)
    decided = store.restore("a", rival.number, actor="rita")
    assert store.head("a") == decided
    assert store.conflicting() == []
    store.leases.record_served("a", "final", "ann")
    assert store.submit(first, image_id="a", actor="ann").base == decided.number


@pytest.mark.row(46)
def test_submit__repeated_by_a_client_makes_one_revision(store: LabelStore, upload: Path, tmp_path: Path) -> None:
    assert {store.submit(upload, image_id="a", actor="ann", key="k1").number for _ in range(5)} == {2}
    with pytest.raises(InputError, match="key"):
        store.submit(write_volume(label_volume(9), tmp_path / "other.nii.gz"), image_id="a", actor="ann", key="k1")
    with pytest.raises(InputError, match="key"):
        store.submit(upload, image_id="a", actor="ann", key="k1", tag="other")
    assert store.submit(upload, image_id="a", actor="bob", key="k1", tag="bobs").number == 3  # a key belongs to one user
    with pytest.raises(InputError, match="number of a revision"):
        store.submit(upload, image_id="a", actor="ann", base={"a": 1})
    assert {store.submit(upload, image_id="mouse2__b", actor="ann").number for _ in range(5)} == {2}


def mirrored() -> Volume:
    return reorient(label_volume(), "RPI")


BAD = {
    "empty file": (lambda p: p.write_bytes(b""), InputError, "0 bytes"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:60]), InputError, "truncated"),
    "png in a nifti's name": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(400)), (Unsupported, InputError), "not|no whole"),
    "other shape": (lambda p: write_volume(label_volume(shape=(12, 10, 5)), p), GeometryError, "Label: .* Image: "),
    "half a voxel aside": (
        lambda p: write_volume(Volume(label_volume().array, AFFINE + np.array([[0, 0, 0, 0.3]] + [[0] * 4] * 3), "um"), p),
        GeometryError,
        "grid",
    ),
    "mirrored grid": (
        lambda p: write_volume(Volume(label_volume().array, np.diag([-1, 1, 1, 1]) @ AFFINE, "um"), p),
        GeometryError,
        "grid",
    ),
    "probabilities": (lambda p: write_volume(Volume(label_volume().array * 0.5, AFFINE, "um"), p), InputError, "whole numbers"),
    "negative": (lambda p: write_volume(Volume(-label_volume().array.astype(np.int16), AFFINE, "um"), p), InputError, "0 to 255"),
    "65535": (
        lambda p: write_volume(Volume(label_volume().array.astype(np.uint16) * 65535, AFFINE, "um"), p), InputError, "65535"
    ),
    "unknown class": (lambda p: write_volume(label_volume(value=7), p), InputError, "value 7.*vessel = 1"),
    "nothing labelled": (lambda p: write_volume(label_volume(value=0), p), InputError, "empty"),
}  # fmt: skip


@pytest.mark.row(13, 14, 15, 16)
@pytest.mark.parametrize("name", BAD)
def test_submit__of_an_unusable_label_changes_nothing(store: LabelStore, upload: Path, name: str) -> None:
    make, error, words = BAD[name]
    make(upload)
    before = state(store)
    with pytest.raises(error, match=words):
        store.submit(upload, image_id="a", actor="ann")
    assert state(store) == before


def test_check_label__reorders_axes_and_maps_values_by_name(store: LabelStore, tmp_path: Path) -> None:
    revision = store.submit(write_volume(mirrored(), tmp_path / "f.nrrd"), image_id="a", actor="ann")
    assert np.array_equal(read_volume(revision.path).array, label_volume().array)
    assert "reordered" in revision.info.changes[0]
    named = write_volume(label_volume(3, value=4), tmp_path / "n.nii.gz")
    rows = [{"name": "background", "idx": 0}, {"name": "vessel", "idx": 4}]
    revision = store.submit(named, image_id="a", actor="ann", label_info=rows)
    assert np.unique(read_volume(revision.path).array).tolist() == [0, 1]
    with pytest.raises(InputError, match="named 'tumour'"):
        store.submit(named, image_id="a", actor="ann", label_info=[{"name": "tumour", "idx": 4}])


def test_check_label__a_mask_of_0_and_255_is_of_the_only_label(store: LabelStore, tmp_path: Path) -> None:
    mask = write_volume(label_volume(value=255), tmp_path / "mask.nii.gz")
    revision = store.submit(mask, image_id="a", actor="ann", label_info=[{"name": "vessel", "idx": 1}])
    assert np.array_equal(read_volume(revision.path).array, label_volume().array)
    assert revision.info.changes == ("The value 255 was named 'vessel' and became 1.",)
    both = label_volume(value=255).with_array(
        np.where(label_volume(5).array > 0, 1, label_volume(value=255).array).astype(np.uint8)
    )
    with pytest.raises(InputError, match="value 255"):
        store.submit(write_volume(both, tmp_path / "both.nii.gz"), image_id="a", actor="ann")


@pytest.mark.row(16)
def test_check_label__an_empty_label_needs_may_be_empty(store: LabelStore, tmp_path: Path) -> None:
    empty = write_volume(label_volume(value=0), tmp_path / "e.nii.gz")
    assert store.submit(empty, image_id="a", actor="ann", may_be_empty=True).info.voxels == {"vessel": 0}


@pytest.mark.requirement("R14")
@pytest.mark.row(1, 3)
@pytest.mark.parametrize(
    "name", ["../app/main", "..%2f..", "/etc/x", "C:\\x", "a\0b", "x" * 4000, "\u202egz.iin", "", "a..b", ".a"]
)
def test_check_name__refuses_names_outside_the_folder(store: LabelStore, upload: Path, name: str) -> None:
    before = state(store)
    with pytest.raises(UnsafeFileError, match="Allowed"):
        store.submit(upload, image_id=name, actor="ann")
    with pytest.raises(UnsafeFileError, match="Allowed"):
        store.submit(upload, image_id="a", tag=name, actor="ann")
    with pytest.raises(UnsafeFileError, match="Allowed"):
        store.images.add(upload, image_id=name, actor="ann")
    assert state(store) == before


def test_submit__for_an_unknown_image_names_it(store: LabelStore, upload: Path) -> None:
    with pytest.raises(NotFoundError, match="nope"):
        store.submit(upload, image_id="nope", actor="ann")


def test_images_add__repeated_upload_changes_nothing_and_nothing_is_overwritten(
    store: LabelStore, studies: Path, tmp_path: Path
) -> None:
    image = write_volume(image_volume(5), tmp_path / "new.nii.gz")
    for _ in range(2):
        assert store.images.add(image, image_id="new", actor="ann").image == studies / "new.nii.gz"
    other = write_volume(image_volume(6), tmp_path / "other.nii.gz")
    for name in ("new", "NEW", "a"):
        with pytest.raises(ConflictError, match=r"overwritten|another file"):
            store.images.add(other, image_id=name, actor="ann")
    shutil.copyfile(__file__, tmp_path / "script.py")
    with pytest.raises(Unsupported):
        store.images.add(tmp_path / "script.py", image_id="script", actor="ann")
    store.images.remove("new", actor="rita")
    assert "new" not in {c.id for c in store.images.all()}
    assert (studies / "new.nii.gz").is_file()
    nrrd = write_volume(image_volume(5), tmp_path / "new.nrrd")
    with pytest.raises(ConflictError, match="was removed"):
        store.images.add(nrrd, image_id="new", actor="ann")


def test_id_from_path__files_of_one_name_become_two_cases(studies: Path) -> None:
    write_volume(image_volume(7), studies / "A.nrrd")
    write_volume(image_volume(7), studies / "maus 1 (links).nii.gz")
    store = LabelStore(studies)
    store.images.scan()
    ids = [c.id for c in store.images.all()]
    assert len(ids) == len({i.casefold() for i in ids}) == 4


@pytest.mark.row(48)
def test_leases__one_user_at_a_time_until_they_expire(store: LabelStore) -> None:
    assert store.leases.take("a", "ann", seconds=60)
    assert store.leases.take("a", "ann", seconds=60)
    assert not store.leases.take("a", "bob", seconds=60)
    assert store.leases.held(by_others_than="bob") == {"a"}
    store.leases.release("a", "ann")
    assert store.leases.take("a", "bob", seconds=-1)
    assert store.leases.take("a", "ann", seconds=60)


def test_review__is_stored_with_reviewer_and_comment(store: LabelStore, upload: Path) -> None:
    number = store.submit(upload, image_id="a", actor="ann").number
    store.review("a", number, "flagged", actor="rita", comment="gap at the top")
    (row,) = store.reviews("a")
    assert (row["state"], row["comment"], row["actor"], row["revision"]) == ("flagged", "gap at the top", "rita", number)
    with pytest.raises(InputError, match="approved"):
        store.review("a", number, "super", actor="rita")


def _work(studies: Path, worker: int, upload: Path) -> None:
    store = LabelStore(studies)
    for turn in range(10):
        store.submit(upload, image_id="a", actor=f"w{worker}", tag=f"t{worker}-{turn}")


@pytest.mark.row(45)
def test_submit__by_eight_processes_ten_labels_each(store: LabelStore, studies: Path, upload: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(studies, w, upload)) for w in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0] * 8
    assert len(store.history("a")) == 80
    assert len({r.number for r in store.history("a")}) == 80
    assert sum(store.counts().values()) == 80
    verdict = store.journal.audit.verify()
    assert (verdict.ok, verdict.entries) == (True, 82)


@pytest.mark.row(43)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "foreign", "noise"])
def test_index__is_rebuilt_from_the_events_when_lost(store: LabelStore, studies: Path, upload: Path, damage: str) -> None:
    revision = store.submit(upload, image_id="a", actor="ann")
    store.review("a", revision.number, "approved", actor="rita")
    store.withdraw("a", "final", actor="rita")
    store.submit(upload, image_id="mouse2__b", actor="ann")
    history, reviews = store.history("a"), store.reviews("a")
    connection = store.journal.index.connection
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if damage == "foreign":
        connection.execute("PRAGMA user_version = 99")
    store.close()
    path = store.root / "index.sqlite"
    if damage == "gone":
        path.unlink()
    elif damage != "foreign":
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:5000], "noise": bytes(range(256)) * 40}[damage])
    again = LabelStore(studies)
    assert again.journal.rebuilt
    assert (again.history("a"), again.reviews("a")) == (history, reviews)
    assert [c.id for c in again.images.all(labelled=True)] == ["mouse2__b"]
    assert again.submit(upload, image_id="a", actor="bob").number == 5


def test_journal__applies_events_that_are_in_the_chain_but_not_in_the_index(
    store: LabelStore, studies: Path, upload: Path, tmp_path: Path
) -> None:
    applied = tuple(store.journal.connection.execute("SELECT * FROM applied").fetchone())
    revision = store.submit(upload, image_id="a", actor="ann")
    for again in (store, LabelStore(studies)):  # this process goes on; another one starts
        connection = again.journal.connection
        connection.execute("DELETE FROM revisions")  # as if the writer had died before its commit
        connection.execute("UPDATE cases SET last = 1 WHERE id = 'a'")
        connection.execute("UPDATE applied SET seq = ?, offset = ?", applied)
        other = write_volume(label_volume(8), tmp_path / "other.nii.gz")
        assert again.submit(other, image_id="a", actor="ann", tag=str(id(again))).number > revision.number
        assert next(r.sha256 for r in again.history("a")) == revision.sha256
    assert store.journal.audit.verify().ok


def test_journal__ignores_files_that_are_not_in_the_chain_and_never_replaces_them(
    store: LabelStore, studies: Path, upload: Path
) -> None:
    forged = store.root / "cases" / "a" / "000002-withdraw.json"
    forged.write_text("{}")
    assert store.submit(upload, image_id="a", actor="ann").number == 3
    assert LabelStore(studies).head("a") == store.head("a")
    assert forged.read_text() == "{}"
    store.journal.rebuild("a test")
    assert [r.number for r in store.history("a")] == [3]
    assert repair_store(store) == {"events": 3, "faults": [], "set_aside": 1}
    assert (store.root / "set_aside" / "a" / forged.name).read_text() == "{}"


def test_scan__by_two_processes_makes_one_case_with_its_info(store: LabelStore, studies: Path) -> None:
    store.images.update_info("a", {"subject": "m1"}, actor="ann")
    assert store.images.announce("a.nii.gz", info={}) == "a"
    assert store.images.get("a").subject == "m1"
    assert store.images.scan() == []


def test_events__are_json_files(store: LabelStore, upload: Path) -> None:
    revision = store.submit(upload, image_id="a", actor="ann")
    event = json.loads((store.root / "cases" / "a" / f"{revision.number:06d}-label.json").read_text())
    assert event["actor"] == "ann"
    assert event["body"]["sha256"] == revision.sha256
    assert revision.path.parent == store.root / "cases" / "a"


def test_audit_chain__contains_no_image_id(store: LabelStore, upload: Path) -> None:
    store.submit(upload, image_id="mouse2__b", actor="ann")
    assert "mouse2" not in store.journal.audit.path.read_text()


@pytest.mark.requirement("R09")
@pytest.mark.row(44)
def test_submit__on_a_full_or_broken_disk_changes_nothing_and_the_next_works(
    store: LabelStore, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    real, before = os.fsync, state(store)
    for code in (errno.ENOSPC, errno.EIO, errno.EROFS):
        for broken_call in range(1, 12):
            calls = 0

            def fail(fd: int, code: int = code, broken_call: int = broken_call) -> None:
                nonlocal calls
                calls += 1
                if calls == broken_call:
                    raise OSError(code, os.strerror(code))
                real(fd)

            monkeypatch.setattr(os, "fsync", fail)
            error: MinivessError | None = None
            try:
                store.submit(upload, image_id="a", actor="ann", tag=f"t-{code}-{broken_call}")
            except MinivessError as raised:
                error = raised
            monkeypatch.setattr(os, "fsync", real)
            if error is None:
                assert calls < broken_call
                break
            assert error.http_status in (503, 507)
            assert os.strerror(code) in str(error)
            assert state(store) == before
        else:
            pytest.fail("no call was the last")
        store.submit(upload, image_id="a", actor="ann", tag=f"ok-{code}")
        before = state(store)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("disk"), OutputError("The output exists.")])
def test_on_disk__reports_any_os_error_as_a_store_error_with_its_reason(error: OSError) -> None:
    with pytest.raises(StoreError, match=rf"cannot be written: {error.strerror or error}") as raised, on_disk():
        raise error
    assert "None" not in str(raised.value)


def test_index__is_an_ordinary_sqlite_file(store: LabelStore) -> None:
    with sqlite3.connect(store.root / "index.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM cases").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.row(49)
def test_history__is_ordered_by_number_whatever_the_clock_says(
    store: LabelStore, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import minivess.store.events as events

    hours = iter(("2031-01-01T03:00:00", "2031-01-01T02:00:00", "1999-12-31T23:59:59"))
    for seed in range(3):
        now = next(hours)
        monkeypatch.setattr(events, "_now", lambda now=now: now)
        store.submit(write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz"), image_id="a", actor="ann")
    assert [r.number for r in store.history("a")] == [2, 3, 4]
    last = store.head("a")
    assert last is not None
    assert (last.number, last.time_utc) == (4, "1999-12-31T23:59:59")
    store.close()
    (store.root / "index.sqlite").unlink()
    assert LabelStore(studies).head("a") == last


def test_scan__tolerates_temporary_folders_that_vanish(store: LabelStore) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with tempfile.TemporaryDirectory(prefix=".upload.", dir=store.studies) as folder:
                (Path(folder) / "sub").mkdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(200):
            assert store.images.scan() == []
    finally:
        stop.set()
        thread.join()
