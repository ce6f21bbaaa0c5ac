"""`minivess store` and `minivess audit`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume

from minivess.cli.main import run
from minivess.store import LabelStore
from minivess.volume import write_volume


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    write_volume(image_volume(), folder / "a.nii.gz")
    store = LabelStore(folder)
    store.images.scan()
    for seed in range(2):
        store.submit(write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz"), image_id="a", actor="ann")
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert run([str(a) for a in arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_history_compare_restore_and_picture(capsys: pytest.CaptureFixture[str], studies: Path, tmp_path: Path) -> None:
    rows = json.loads(said(capsys, "store", "log", studies, "--json"))
    assert [(r["number"], r["state"], r["actor"]) for r in rows] == [(2, "superseded", "ann"), (3, "current", "ann")]
    shown = json.loads(said(capsys, "store", "show", studies, "a", 3, "--against", 2, "--picture", tmp_path / "d.png", "--json"))
    old, new = label_volume(0).array > 0, label_volume(1).array > 0
    assert (shown["added_voxels"], shown["removed_voxels"]) == ((new & ~old).sum(), (old & ~new).sum())
    assert (tmp_path / "d.png").stat().st_size > 100
    assert "is current again, as revision 4" in said(capsys, "store", "restore", studies, "a", 2)
    assert "no revision 99" in said(capsys, "store", "show", studies, "a", 99, code=1)
    assert "No store in" in said(capsys, "store", "log", tmp_path, code=1)


def test_repair_finds_a_changed_label(capsys: pytest.CaptureFixture[str], studies: Path) -> None:
    assert "from 3 events" in said(capsys, "store", "repair", studies)
    assert not list(studies.rglob("index.*.damaged")), "nothing was damaged"
    path = LabelStore(studies).head("a").path
    path.write_bytes(path.read_bytes() + b"x")
    assert "not the file that was recorded" in said(capsys, "store", "repair", studies, code=1)


def test_export(capsys: pytest.CaptureFixture[str], studies: Path, tmp_path: Path) -> None:
    assert json.loads(said(capsys, "store", "export", studies, tmp_path / "out", "--json"))["labels"] == 1
    assert (tmp_path / "out" / "labels" / "final" / "a.nii.gz").is_file()


def test_audit(capsys: pytest.CaptureFixture[str], studies: Path, tmp_path: Path) -> None:
    assert "Signed entry 3" in said(capsys, "audit", "checkpoint", studies, "--out", tmp_path / "safe")
    kept = ("--checkpoints", tmp_path / "safe" / "checkpoints.jsonl", "--public-key", tmp_path / "safe" / "public_key.pem")
    assert "The audit chain is valid: 3 entries, 1 signed checkpoints." in said(capsys, "audit", "verify", studies, *kept)
    chain = studies / "minivess_store" / "audit" / "chain.jsonl"
    chain.write_text("".join(chain.read_text().splitlines(keepends=True)[:2]))
    assert "cut off" in said(capsys, "audit", "verify", studies, *kept, code=1)
    assert "cut off" in said(capsys, "audit", "verify", studies, code=1)
    (chain.parent / "checkpoints.jsonl").write_text("")  # nothing here tells of the cut any more: the copies elsewhere do
    before = (tmp_path / "safe" / "checkpoints.jsonl").read_bytes()
    assert "cut off" in said(capsys, "audit", "checkpoint", studies, "--out", tmp_path / "safe", code=1)
    assert (tmp_path / "safe" / "checkpoints.jsonl").read_bytes() == before


def test_a_picture_replaces_no_file(capsys: pytest.CaptureFixture[str], studies: Path, tmp_path: Path) -> None:
    (tmp_path / "d.png").write_text("kept")
    (tmp_path / "s.svg").write_text("kept")
    assert "exists" in said(capsys, "store", "show", studies, "a", 3, "--picture", tmp_path / "d.png", code=1)
    assert "exists" in said(capsys, "lineage", studies, "a", "--picture", tmp_path / "s.svg", code=1)
    assert "is written as .png" in said(capsys, "store", "show", studies, "a", 3, "--picture", tmp_path / "d.xyz", code=2)
    assert (tmp_path / "d.png").read_text() == (tmp_path / "s.svg").read_text() == "kept"


def test_a_second_export_of_the_same_changes_nothing(capsys: pytest.CaptureFixture[str], studies: Path, tmp_path: Path) -> None:
    said(capsys, "store", "export", studies, tmp_path / "out")
    before = sorted(str(file) for file in (tmp_path / "out").rglob("*"))
    again = json.loads(said(capsys, "store", "export", studies, tmp_path / "out", "--json"))
    assert (again["images"], again["labels"], again["put_aside"]) == (0, 0, 0)
    assert sorted(str(file) for file in (tmp_path / "out").rglob("*")) == before


def test_a_lost_audit_chain_is_not_begun_again(capsys: pytest.CaptureFixture[str], studies: Path) -> None:
    audit = studies / "minivess_store" / "audit"
    shutil.rmtree(audit)
    for words in (("store", "log"), ("audit", "verify"), ("audit", "checkpoint")):
        assert "there are events. Nothing was changed" in said(capsys, *words, studies, code=1)
        assert not audit.exists()
