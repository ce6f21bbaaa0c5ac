"""A store of format 2, written before the audit chain became the commit point, is upgraded by a command, and reads the same.

The event files are literal texts of that version; only the hashes of the generated labels are filled in.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume

from minivess.errors import MinivessError, StoreError
from minivess.paths import file_sha256
from minivess.store import Answer, AuditChain, LabelStore, Region, RevisionInfo
from minivess.store.format import FORMAT
from minivess.store.records import SegCopy
from minivess.store.repair import repair_store
from minivess.store.upgrade import upgrade_store
from minivess.store.verification import FileCheck, check_files
from minivess.volume import Box, read_volume, write_volume

EVENTS = {
    "000001-case": """{"actor": "server", "body": {"info": {}, "path": "a.nii.gz"}, "case": "a", "kind": "case", "number": 1,
        "time_utc": "2026-07-01T08:00:01.000+00:00"}""",
    "000002-info": """{"actor": "ann", "body": {"info": {"subject": "m1"}}, "case": "a", "kind": "info", "number": 2,
        "time_utc": "2026-07-01T08:00:02.000+00:00"}""",
    "000003-label": """{"actor": "ann", "body": {"base": null, "info": {"changes": ["The value 2 was named 'vessel' and became 1."],
        "client": "page", "params": {"client_id": "slicer"}, "voxels": {"vessel": 139}}, "key": "k1", "rival": false,
        "sha256": "SHA256_0", "tag": "final", "upload": "67a73265"}, "case": "a", "kind": "label", "number": 3,
        "time_utc": "2026-07-01T08:00:03.000+00:00"}""",
    "000004-label": """{"actor": "bob", "body": {"base": null, "info": {"changes": [], "voxels": {"vessel": 137}}, "key": "",
        "rival": true, "sha256": "SHA256_1", "tag": "final", "upload": "38c43adc"}, "case": "a", "kind": "label", "number": 4,
        "time_utc": "2026-07-01T08:00:04.000+00:00"}""",
    "000005-review": """{"actor": "rita", "body": {"review": {"comment": "gap", "state": "flagged"}, "revision": 3}, "case": "a",
        "kind": "review", "number": 5, "time_utc": "2026-07-01T08:00:05.000+00:00"}""",
    "000006-info": """{"actor": "server", "body": {"info": {"dicom": {"SOPInstanceUID": "1.2.3", "revision": 3}}, "revision": 3},
        "case": "a", "kind": "info", "number": 6, "time_utc": "2026-07-01T08:00:06.000+00:00"}""",
    "000007-queue": """{"actor": "server", "body": {"about": {"errors_per_predicted_voxel": 0.1, "model": "5e5e", "order": "mass",
        "ranked_by": "rule", "retrain_first": false, "zones": ""}, "places": 3, "regions": [
        {"box": [0, 4, 0, 4, 0, 2], "box_ras": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], "centre_ras": [1.0, 2.0, 3.0], "cost_s": 12.0,
        "expected_errors": 3.0, "expected_voxels": 30.0, "kind": "gap", "model": "5e5e", "reason": "why"},
        {"box": [4, 8, 0, 4, 0, 2], "box_ras": [1.0, 0.0, 0.0, 2.0, 1.0, 1.0], "centre_ras": [2.0, 2.0, 3.0], "cost_s": 12.0,
        "expected_errors": 2.0, "expected_voxels": 20.0, "kind": "false merge", "model": "5e5e", "reason": "why"},
        {"box": [0, 4, 4, 8, 0, 2], "box_ras": [0.0, 1.0, 0.0, 1.0, 2.0, 1.0], "centre_ras": [1.0, 3.0, 3.0], "cost_s": 12.0,
        "expected_errors": 1.0, "expected_voxels": 10.0, "kind": "blob", "model": "5e5e", "reason": "why"}]},
        "case": "a", "kind": "queue", "number": 7, "time_utc": "2026-07-01T08:00:07.000+00:00"}""",
    "000008-answer": """{"actor": "ann", "body": {"details": {"mask": "eNpj+M/AAAADAQEA", "seconds": 12.5}, "queue": 7, "rank": 0,
        "verdict": "fixed"}, "case": "a", "kind": "answer", "number": 8, "time_utc": "2026-07-01T08:00:08.000+00:00"}""",
    "000009-answer": """{"actor": "ann", "body": {"details": {}, "queue": 7, "rank": 1, "verdict": "skipped"}, "case": "a",
        "kind": "answer", "number": 9, "time_utc": "2026-07-01T08:00:09.000+00:00"}""",
    "000010-answer": """{"actor": "ann", "body": {"details": {}, "queue": 7, "rank": 1, "verdict": "pending"}, "case": "a",
        "kind": "answer", "number": 10, "time_utc": "2026-07-01T08:00:10.000+00:00"}""",
    "000011-answer": """{"actor": "bob", "body": {"details": {"seconds": 3.0}, "queue": 7, "rank": 2, "verdict": "skipped"},
        "case": "a", "kind": "answer", "number": 11, "time_utc": "2026-07-01T08:00:11.000+00:00"}""",
    "000012-label": """{"actor": "rita", "body": {"base": 3, "info": {"changes": [], "restored_from": 4, "voxels": {"vessel": 137}},
        "key": "", "rival": false, "sha256": "SHA256_1", "tag": "final", "upload": ""}, "case": "a", "kind": "label", "number": 12,
        "time_utc": "2026-07-01T08:00:12.000+00:00"}""",
    "000013-settle": """{"actor": "rita", "body": {"by": 12, "tag": "final"}, "case": "a", "kind": "settle", "number": 13,
        "time_utc": "2026-07-01T08:00:13.000+00:00"}""",
    "000014-label": """{"actor": "server", "body": {"base": null, "info": {"changes": [], "imported": true, "params": {},
        "voxels": {"vessel": 139}}, "key": "", "rival": false, "sha256": "SHA256_0", "tag": "original", "upload": "9a"},
        "case": "a", "kind": "label", "number": 14, "time_utc": "2026-07-01T08:00:14.000+00:00"}""",
    "000015-withdraw": """{"actor": "rita", "body": {"tag": "original"}, "case": "a", "kind": "withdraw", "number": 15,
        "time_utc": "2026-07-01T08:00:15.000+00:00"}""",
}


@pytest.fixture
def old_studies(tmp_path: Path) -> Path:
    studies = tmp_path / "studies"
    write_volume(image_volume(), studies / "a.nii.gz")
    folder = studies / "minivess_store" / "cases" / "a"
    labels = [write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in range(2)]
    hashes = [file_sha256(label) for label in labels]
    folder.mkdir(parents=True)
    for name, text in EVENTS.items():
        for seed, sha256 in enumerate(hashes):
            if f"SHA256_{seed}" in text:
                text = text.replace(f"SHA256_{seed}", sha256)
                (folder / f"{name[:6]}-{sha256[:12]}.nii.gz").write_bytes(labels[seed].read_bytes())
        (folder / f"{name}.json").write_text(text)
    return studies


@pytest.fixture
def upgraded(old_studies: Path) -> Path:
    report = upgrade_store(old_studies / "minivess_store")
    assert (report["from"], report["to"], report["events"], report["faults"]) == (2, FORMAT, len(EVENTS), [])
    return old_studies


def test_label_store__of_another_format_is_refused_and_not_changed(old_studies: Path) -> None:
    before = contents(old_studies)
    with pytest.raises(StoreError, match=r"format 2.*minivess store upgrade STUDIES --store .*minivess_store"):
        LabelStore(old_studies)
    assert {path: data for path, data in contents(old_studies).items() if not path.name.endswith("lock")} == before
    upgrade_store(old_studies / "minivess_store")
    stamp = old_studies / "minivess_store" / "cases" / ".format" / "000003-format.json"
    stamp.write_text('{"format": 4}')
    for use in (LabelStore, lambda studies: upgrade_store(studies / "minivess_store")):
        with pytest.raises(MinivessError, match=r"format 4.*newer"):
            use(old_studies)


def test_upgrade_store__keeps_a_copy_and_adopts_each_event_once(old_studies: Path) -> None:
    root = old_studies / "minivess_store"
    AuditChain(root / "audit").append("label.entered", actor="ann", image_id="a", details={"number": 3})  # an entry of format 2
    before = contents(root)
    report = upgrade_store(root)
    copied = {path.relative_to(report["copy"]): data for path, data in contents(Path(report["copy"])).items()}
    assert copied == {path.relative_to(root): data for path, data in before.items() if not path.name.endswith("lock")}
    actions = actions_in(root)
    assert len(actions) == 1 + len(EVENTS)
    assert upgrade_store(root)["copy"] == ""
    shutil.rmtree(root / "cases" / ".format")  # as if the upgrade had been interrupted
    upgrade_store(root)
    assert actions_in(root) == actions
    assert check_files(root, AuditChain(root / "audit")) == FileCheck(len(EVENTS), [], [])


def test_upgrade_store__is_refused_while_a_program_of_any_format_uses_the_store(old_studies: Path) -> None:
    root = old_studies / "minivess_store"
    old_program = sqlite3.connect(root / "index.sqlite", isolation_level=None)
    old_program.execute("PRAGMA journal_mode = WAL")
    old_program.execute("CREATE TABLE cases (id)")
    with pytest.raises(StoreError, match="uses the store"):
        upgrade_store(root)
    old_program.close()
    upgrade_store(root)


def actions_in(root: Path) -> list[str]:
    return [entry["action"] for entry in AuditChain(root / "audit").entries()]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_events_of_the_version_before__revisions_read_the_same(upgraded: Path) -> None:
    store = LabelStore(upgraded)
    assert store.images.scan() == []
    (case,) = store.images.all()
    assert (case.id, case.info, case.subject) == ("a", {"subject": "m1"}, "m1")
    history = store.history("a")
    assert [(r.number, r.tag, r.state, r.actor, r.base) for r in history] == [
        (3, "final", "superseded", "ann", None),
        (4, "final", "settled", "bob", None),
        (12, "final", "current", "rita", 3),
        (14, "original", "withdrawn", "server", None),
    ]
    assert [r.info for r in history] == [
        RevisionInfo(
            {"vessel": 139}, ("The value 2 was named 'vessel' and became 1.",), {"client_id": "slicer"},
            dicom=SegCopy(3, "1.2.3"), other={"client": "page"},
        ),
        RevisionInfo({"vessel": 137}),
        RevisionInfo({"vessel": 137}, restored_from=4),
        RevisionInfo({"vessel": 139}, imported=True),
    ]  # fmt: skip
    assert (read_volume(history[2].path).array == label_volume(1).array).all()
    assert store.conflicting() == []
    (review,) = store.reviews("a")
    assert (review["revision"], review["state"], review["comment"], review["actor"]) == (3, "flagged", "gap", "rita")


def test_events_of_the_version_before__queue_and_answers_read_the_same(upgraded: Path) -> None:
    queue = LabelStore(upgraded).queue
    items, total = queue.all("a")
    assert total == 3
    assert [(i.id, i.model, i.state, i.holder, i.answer) for i in items] == [
        ("a:7.0", "5e5e", "fixed", "ann", Answer(8, "eNpj+M/AAAADAQEA", 12.5)),
        ("a:7.1", "5e5e", "pending", "", None),  # its answer was withdrawn
        ("a:7.2", "5e5e", "skipped", "bob", Answer(11, seconds=3.0)),
    ]
    assert items[1].region == Region(
        (2.0, 2.0, 3.0), Box(4, 8, 0, 4, 0, 2), (1.0, 0.0, 0.0, 2.0, 1.0, 1.0), "false merge", 2.0, 20.0, 12.0, "why"
    )
    written = json.loads(EVENTS["000007-queue"])["body"]["regions"]
    read = [{**item.region.to_json(), "model": item.model} for item in items]
    assert read == written
    assert [item.id for item in queue.answered()] == ["a:7.0", "a:7.2"]


def test_events_of_the_version_before__work_goes_on_and_no_file_changes(upgraded: Path, tmp_path: Path) -> None:
    folder = upgraded / "minivess_store" / "cases" / "a"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    store = LabelStore(upgraded)
    assert repair_store(store) == {"events": len(EVENTS), "faults": [], "set_aside": 0}
    item = store.queue.next("ann", seconds=60)
    assert item is not None
    assert store.queue.answer(item.id, "accepted", actor="ann", mask="x").answer == Answer(16, "x")
    third = write_volume(label_volume(2), tmp_path / "2.nii.gz")
    assert store.submit(third, image_id="a", actor="rita").base == 12
    assert store.submit(third, image_id="a", actor="rita").number == 17
    assert {path: path.read_bytes() for path in before} == before
    assert store.journal.audit.verify().ok
