"""Files that are damaged, removed, brought back or linked: no label is lost, and none becomes that of another image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume

from minivess.errors import ConflictError
from minivess.store import LabelStore
from minivess.store.audit import AuditChain
from minivess.store.monai_label import export, import_once
from minivess.store.repair import repair_store
from minivess.volume import write_volume


@pytest.fixture
def store(studies: Path) -> LabelStore:
    store = LabelStore(studies)
    store.images.scan()
    return store


def test_a_label_waits_for_its_damaged_event(store: LabelStore, upload: Path) -> None:
    revision = store.submit(upload, image_id="a", actor="ann")
    (event,) = (store.root / "cases" / "a").glob("*-label.json")
    content = event.read_bytes()
    event.write_text("{")
    report = repair_store(store)
    assert report["set_aside"] == 0
    assert any(event.name in fault for fault in report["faults"])
    event.write_bytes(content)  # from the backup, as it is advised
    assert repair_store(store) == {"events": 3, "faults": [], "set_aside": 0}
    head = store.head("a")
    assert head is not None
    assert head.sha256 == revision.sha256
    assert store.label_file(head).is_file()


def test_a_label_that_an_earlier_repair_has_set_aside_comes_back(store: LabelStore, upload: Path) -> None:
    label = store.submit(upload, image_id="a", actor="ann").path
    aside = store.root / "set_aside" / "a" / label.name
    aside.parent.mkdir(parents=True)
    label.rename(aside)
    assert repair_store(store)["faults"] == []
    assert label.is_file()


def test_an_image_that_comes_back_has_its_label_and_another_one_has_not(store: LabelStore, upload: Path, tmp_path: Path) -> None:
    file = write_volume(image_volume(5), tmp_path / "new.nii.gz")
    store.images.add(file, image_id="new", actor="ann")
    revision = store.submit(upload, image_id="new", actor="ann")
    store.images.remove("new", actor="ada")
    assert store.images.add(file, image_id="new", actor="ann").id == "new"  # it still lies there
    head = store.head("new")
    assert head is not None
    assert head.number == revision.number
    store.images.remove("new", actor="ada")
    (store.studies / "new.nii.gz").unlink()
    other = write_volume(image_volume(6), tmp_path / "other.nii.gz")
    with pytest.raises(ConflictError, match="was removed; its labels are kept"):
        store.images.add(other, image_id="new", actor="bob")
    assert store.images.add(file, image_id="new", actor="bob").image.is_file()


def test_an_image_of_another_server_that_was_removed_stays_removed(store: LabelStore) -> None:
    name = store.images.announce("1.2.3.nii.gz", info={})
    store.images.remove(name, actor="ada")
    assert store.images.announce("1.2.3.nii.gz", info={}) == name
    assert name not in store.images.ids()


def test_a_linked_folder_is_named_not_passed_by_in_silence(store: LabelStore, studies: Path, tmp_path: Path) -> None:
    write_volume(image_volume(3), tmp_path / "elsewhere" / "c.nii.gz")
    (studies / "linked").symlink_to(tmp_path / "elsewhere")
    assert store.images.scan() == []
    assert "a linked folder is not followed" in store.images.skipped["linked"]


def test_an_export_puts_another_image_of_the_same_name_aside(store: LabelStore, tmp_path: Path) -> None:
    other = write_volume(image_volume(9), tmp_path / "out" / "a.nii.gz")
    content = other.read_bytes()
    counts = export(store, tmp_path / "out")
    assert (counts["images"], counts["put_aside"]) == (2, 1)
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == (store.studies / "a.nii.gz").read_bytes()
    assert any(file.read_bytes() == content for file in (tmp_path / "out").glob("a.nii.gz.*"))


def test_a_note_that_is_no_number_refuses_no_label(studies: Path) -> None:
    write_volume(label_volume(), studies / "labels" / "final" / "a.nii.gz")
    info = '{"dice": NaN, "far": 1e999, "name": "a.nii.gz"}'
    labels = f'{{"final": {{"ext": ".nii.gz", "info": {info}}}}}'
    index = f'{{"objects": {{"a": {{"image": {{"ext": ".nii.gz", "info": {{}}}}, "labels": {labels}}}}}}}'
    (studies / "datastore_v2.json").write_text(index)
    store = LabelStore(studies)
    store.images.scan()
    report = import_once(store)
    assert report is not None
    assert (report["imported"], report["refused"]) == (1, {})


@pytest.mark.parametrize("line", ["[]", "5", '"x"', "null"])
def test_a_line_of_the_chain_that_is_no_entry_is_named(store: LabelStore, line: str) -> None:
    chain = store.journal.audit
    lines = chain.path.read_text().splitlines()
    chain.path.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    verdict = chain.verify()
    assert (verdict.ok, verdict.first_bad_seq, verdict.reason) == (False, 2, "Entry 2 is not a valid entry.")


def test_a_checkpoint_whose_signature_is_no_text_is_named(store: LabelStore) -> None:
    chain: AuditChain = store.journal.audit
    chain.checkpoint()
    with chain.checkpoints.open("a") as stream:
        stream.write(json.dumps({"signature": 5, "seq": 1}) + "\n")
    assert chain.verify().reason == "Checkpoint 2 is not signed by this key."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_belongs_to_the_owner_of_the_store(studies: Path) -> None:
    root = studies / "minivess_store"
    subprocess.run([sys.executable, "-c", "import sys; from minivess.store import LabelStore; LabelStore(sys.argv[1]).images.scan()",
                    str(studies)], check=True)  # fmt: skip
    for path in (root, *root.rglob("*")):
        os.chown(path, 1234, 99)
    for words in (["store", "repair"], ["audit", "checkpoint"]):
        subprocess.run([sys.executable, "-m", "minivess", *words, str(studies)], check=True)
    assert {path.lstat().st_uid for path in (root, *root.rglob("*"))} == {1234}
