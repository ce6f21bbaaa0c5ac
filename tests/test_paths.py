from __future__ import annotations

import stat
from pathlib import Path

import pytest

from minivess.errors import InputError, OutputError
from minivess.paths import atomic_file, atomic_folder, door, sha256_of, write_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "f.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [f.name for f in path.parent.iterdir()] == ["f.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o044


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
    assert (tmp_path / "out" / "x").read_text() == "1"
    with pytest.raises(OutputError, match="not empty"), atomic_folder(tmp_path / "out"):
        pass


def test_doors_are_found_and_others_are_not() -> None:
    assert (door("bundles/segresnet") / "configs").is_dir()
    with pytest.raises(InputError, match="Reinstall"):
        door("bundles/nothing")


def test_json_is_sorted_and_hashed_alike(tmp_path: Path) -> None:
    for name, content in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        write_json(tmp_path / name, content)
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")


def test_a_folder_that_exists_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "link") as temporary:
        (temporary / "x").write_text("1")
        raise RuntimeError
    assert not list((tmp_path / "real").iterdir())
    with atomic_folder(tmp_path / "link") as temporary:
        (temporary / "result.json").write_text("{}")
        (temporary / "vessels.seg.dcm").write_text("1")
    assert sorted(f.name for f in (tmp_path / "real").iterdir()) == ["result.json", "vessels.seg.dcm"]
    assert (tmp_path / "link").is_symlink()
