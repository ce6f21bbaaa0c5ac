from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minivess.errors import InputError, OutputError
from minivess.paths import atomic_file, atomic_folder, file_sha256, known_sha256, remove_abandoned, resource_path, write_json


def test_atomic_file__replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "f.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [f.name for f in path.parent.iterdir()] == ["f.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o044


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_atomic_file__a_full_disk_in_the_block_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old")
    with (
        pytest.raises(OutputError, match=r"Cannot write .*f\.txt: No space left on device\. Free space") as caught,
        atomic_file(path),
    ):
        Path("/dev/full").write_text("new")
    assert (caught.value.errno, caught.value.strerror) == (errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(path)
    assert isinstance(caught.value, OSError)
    assert caught.value.http_status == 507
    assert path.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["f.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_atomic_file__a_failed_flush_or_rename_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "f.txt"
    path.write_text("old")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OutputError, match=r"Cannot write .*f\.txt: No space"), atomic_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["f.txt"]


def test_atomic_file__an_output_error_of_the_block_is_not_wrapped(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="inner") as caught, atomic_file(tmp_path / "outer"):
        (tmp_path / "file").write_text("x")
        write_json(tmp_path / "file" / "inner", {})
    assert "outer" not in str(caught.value)


def test_output_error__keeps_its_message_when_pickled_and_with_an_error_number() -> None:
    error = OutputError.from_os_error(Path("x"), OSError(errno.EROFS, "Read-only file system", "/mnt/x"))
    assert str(error).startswith("Cannot write x: Read-only file system.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(OutputError.from_os_error(Path("x"), OSError("no codec"))).startswith("Cannot write x: no codec.")
    assert OutputError("text").errno is None


def test_write_json__names_the_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OutputError, match=r"Cannot write .*a\.json: No space left on device"):
        write_json(tmp_path / "a.json", {})
    assert not list(tmp_path.iterdir())


def test_atomic_folder__appears_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
    assert (tmp_path / "out" / "x").read_text() == "1"
    with pytest.raises(OutputError, match="not empty"), atomic_folder(tmp_path / "out"):
        pass


def test_atomic_folder__a_full_disk_or_a_failed_rename_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"Cannot write .*out: No space"), atomic_folder(tmp_path / "out"):
        Path("/dev/full").write_text("new")
    assert not list(tmp_path.iterdir())
    (tmp_path / "empty").mkdir()
    rename = Path.rename

    def rename_the_first(self: Path, target: Path) -> Path:
        return full_disk() if any((tmp_path / "empty").glob("[0-9]")) else rename(self, target)  # type: ignore[func-returns-value,return-value]

    monkeypatch.setattr(Path, "rename", rename_the_first)
    with pytest.raises(OutputError, match=r"Cannot write .*empty: No space"), atomic_folder(tmp_path / "empty") as temporary:
        for number in "123":
            (temporary / number).write_text("x")
    assert not list((tmp_path / "empty").iterdir())


def test_atomic_folder__fills_an_existing_folder_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
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


def test_resource_path__finds_shipped_folders_and_refuses_others() -> None:
    assert (resource_path("bundles/segresnet") / "configs").is_dir()
    with pytest.raises(InputError, match="Reinstall"):
        resource_path("bundles/nothing")


def test_write_json__sorts_keys_so_that_equal_content_has_equal_hashes(tmp_path: Path) -> None:
    for name, content in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        write_json(tmp_path / name, content)
    assert file_sha256(tmp_path / "a") == file_sha256(tmp_path / "b")
    assert json.loads((tmp_path / "a").read_text()) == {"x": 1, "y": 2}


def test_atomic_folder__takes_names_as_long_as_a_file_system_does(tmp_path: Path) -> None:
    name = "x" * 250
    with atomic_folder(tmp_path / name) as temporary:
        (temporary / "file").write_text("1")
    assert (tmp_path / name / "file").is_file()


def test_atomic_folder__removes_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    kept = (tmp_path / ".out.20240131", tmp_path / ".out.unfinished")
    for folder in kept:
        folder.mkdir()
        (folder / "mine.txt").write_text("x")
    script = f"""
import os
from pathlib import Path
from minivess.paths import atomic_folder
with atomic_folder(Path({str(tmp_path / "out")!r})):
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "file").write_text("1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.20240131", ".out.unfinished", "out"]
    assert all((folder / "mine.txt").is_file() for folder in kept)


def test_an_input_that_is_missing_is_no_output_that_cannot_be_written(tmp_path: Path) -> None:
    for write in (atomic_file, atomic_folder):
        with pytest.raises(FileNotFoundError) as caught, write(tmp_path / "made" / "out"):
            (tmp_path / "input").read_bytes()
        assert not isinstance(caught.value, OutputError)
        assert caught.value.filename == str(tmp_path / "input")
        with pytest.raises(OutputError, match="Cannot write"), write(tmp_path / "made" / "out") as temporary:
            (temporary / "no" / "folder").write_text("x")
        assert not list((tmp_path / "made").iterdir())


def test_atomic_file__takes_the_longest_name(tmp_path: Path) -> None:
    with atomic_file(tmp_path / ("x" * 248)) as temporary:
        temporary.write_text("new")
    assert [len(file.name) for file in tmp_path.iterdir()] == [248]


def test_atomic_folder__a_failed_move_brings_folders_back_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "target", Path.rename
    target.mkdir()

    def rename_folders_only(self: Path, to: Path) -> Path:
        return rename(self, to) if self.is_dir() else full_disk()  # type: ignore[func-returns-value,return-value]

    monkeypatch.setattr(Path, "rename", rename_folders_only)
    with pytest.raises(OutputError, match="No space left"), atomic_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file").write_text("x")
        (temporary / "a").write_text("x")
    assert not list(target.iterdir())


def test_two_names_that_begin_alike_have_temporary_folders_of_their_own(tmp_path: Path) -> None:
    first, second = ("x" * 60 + end for end in "ab")
    with atomic_folder(tmp_path / first) as one:
        remove_abandoned(tmp_path, second)
        (one / "file").write_text("x")
    assert (tmp_path / first / "file").is_file()


def test_what_a_killed_process_left_of_a_file_is_removed_by_the_next_publication(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys\n"
        "from minivess.paths import atomic_file\n"
        "with atomic_file(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, tmp_path / "weights"], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    remove_abandoned(tmp_path, "weights")
    assert not list(tmp_path.iterdir())


def test_known_sha256__is_that_of_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    for content in ("one", "two", "longer"):
        with atomic_file(path) as temporary:
            temporary.write_text(content)
        assert known_sha256(path) == known_sha256(path) == file_sha256(path)


def test_a_copy_that_the_disk_has_no_space_for_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(10**6))
    with (
        pytest.raises(OutputError, match=r"Cannot write .*out: No space left on device"),
        atomic_file(tmp_path / "elsewhere" / "out"),
    ):
        shutil.copyfile(tmp_path / "source", "/dev/full")
