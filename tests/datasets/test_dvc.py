"""Pins that DVC 3 has written (recorded), read, compared and written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from minivess.cli.main import run
from minivess.datasets.dvc import check_pin, compute_pin, write_pin
from minivess.errors import InputError

#: What `dvc add data` wrote for the files of the fixture, and its list in the cache.
PINNED = "outs:\n- md5: 8593095a712cf78ed603d5add43c1f73.dir\n  size: 35\n  nfiles: 5\n  hash: md5\n  path: data\n"
LISTED = (
    '[{"md5": "8a80554c91d9fca8acb82f023de02f11", "relpath": "dataset.json"}, '
    '{"md5": "16b00f7af57c4793e09c6c890aa251ce", "relpath": "images/1.txt"}, '
    '{"md5": "140b1b9eb2aa3a7dc60d910e72e59eb2", "relpath": "images/2.txt"}, '
    '{"md5": "06f68c051abf48bd494dc197ccf537fc", "relpath": "labels/1.txt"}, '
    '{"md5": "e2b5a11b4569408837e048fa7d25a5ea", "relpath": "labels/2.txt"}]'
)


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder that DVC has pinned."""
    folder = tmp_path / "data"
    for number in (1, 2):
        write(folder / "images", **{f"{number}.txt": f"image {number}\n"})
        write(folder / "labels", **{f"{number}.txt": f"label {number}\n"})
    return write(folder, **{"dataset.json": "{}\n"})


def test_a_folder_is_pinned_as_dvc_does(data: Path) -> None:
    assert write_pin(data) == data.with_name("data.dvc")
    assert yaml.safe_load(data.with_name("data.dvc").read_text()) == yaml.safe_load(PINNED)
    assert check_pin(data) == "8593095a712cf78ed603d5add43c1f73.dir"


def test_a_single_file_and_odd_names_are_pinned_as_dvc_does(tmp_path: Path) -> None:
    write(tmp_path, **{"single.nii": "one\n"})
    assert compute_pin(tmp_path / "single.nii").to_yaml("single.nii") == (
        "outs:\n- md5: 5bbf5a52328e7439ae6e719dfe712200\n  size: 4\n  hash: md5\n  path: single.nii\n"
    )
    odd = write(tmp_path / "odd", **{"a__b": "x\n", "a-b": "y\n", "ä.txt": "z\n"})
    assert compute_pin(odd).md5 == "8b8f6887ae20f2dc2c3eae0932310b40.dir"
    write(odd, **{".dvcignore": "", ".git__config": ""})  # DVC does not count them
    assert compute_pin(odd).md5 == "8b8f6887ae20f2dc2c3eae0932310b40.dir"


def test_data_that_are_not_as_pinned_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    assert check_pin(data) == ""
    data.with_name("data.dvc").write_text(PINNED)
    write(data, **{"images__1.txt": "another image\n", "more.txt": ""})
    with pytest.raises(InputError, match=r"is not as data\.dvc pins it\. Get the pinned version: dvc checkout"):
        check_pin(data)
    write(tmp_path / ".dvc" / "cache" / "files" / "md5" / "85", **{"93095a712cf78ed603d5add43c1f73.dir": LISTED})
    with pytest.raises(InputError, match=r"\(images/1\.txt, more\.txt\)"):
        check_pin(data)


@pytest.mark.parametrize(
    "text",
    ["", "outs: []", "outs:\n- path: data", "- [", "outs:\n- {md5: ../../../x.dir, path: data}", "outs:\n- {md5: a}\n- {md5: b}"],
)
def test_what_is_no_pin_is_refused(data: Path, text: str) -> None:
    data.with_name("data.dvc").write_text(text)
    with pytest.raises(InputError, match=r"is no \.dvc file"):
        check_pin(data)


def test_a_training_refuses_data_that_are_not_as_pinned(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin = dataset.with_name(dataset.name + ".dvc")
    try:
        assert run(["data", "pin", str(dataset)]) == 0
        assert "dvc" in capsys.readouterr().out
        pin.write_text(re.sub("md5: [0-9a-f]{32}", f"md5: {'0' * 32}", pin.read_text()))
        for command in (
            ["train", str(dataset), "--out", str(tmp_path / "m")],
            ["train", str(dataset / "dataset.json"), "--out", str(tmp_path / "m")],
            ["evaluate", str(dataset), "--bundle", "x"],
            ["calibrate", str(dataset), "--bundle", "x"],
        ):
            assert run(command) == 1
            assert "is not as" in capsys.readouterr().err
        assert not (tmp_path / "m").exists()
    finally:
        pin.unlink()


def test_files_behind_a_link_are_pinned_and_a_link_in_a_circle_is_refused(data: Path, tmp_path: Path) -> None:
    (data / "images").rename(tmp_path / "large_disk")
    (data / "images").symlink_to(tmp_path / "large_disk", target_is_directory=True)
    write_pin(data)
    assert check_pin(data) == "8593095a712cf78ed603d5add43c1f73.dir"
    (tmp_path / "large_disk" / "1.txt").write_text("another image")
    with pytest.raises(InputError, match="is not as"):
        check_pin(data)
    (tmp_path / "large_disk" / "back").symlink_to(tmp_path / "large_disk", target_is_directory=True)
    with pytest.raises(InputError, match="is a link to a folder that it lies in"):
        compute_pin(data)


def test_the_seal_of_the_test_set_is_no_part_of_the_data(data: Path) -> None:
    write_pin(data)
    pinned = check_pin(data)
    write(data / "sealed_test" / "audit", chain="a look\n")
    write(data, **{"sealed_test.json": "{}"})
    assert check_pin(data) == pinned
    assert "/sealed_test*" in (data / ".dvcignore").read_text().splitlines()


def test_patterns_that_dvc_leaves_out_are_not_followed_in_silence(data: Path) -> None:
    write_pin(data)
    write(data, **{".dvcignore": "# what DVC writes\n\n/sealed_test*\n"})
    check_pin(data)
    (data / ".dvcignore").write_bytes(b"# f\xfcr DVC\n*.tmp\n")
    check_pin(data)  # nothing is left out: the pin is right, whoever made it
    write(data, **{"x.tmp": "left out by DVC\n"})
    with pytest.raises(
        InputError, match=r"is not as data\.dvc pins it.*\.dvcignore, by which DVC leaves files out, are not followed"
    ):
        check_pin(data)
    with pytest.raises(InputError, match=r"\.dvcignore leaves files out of the data set.*pin with DVC itself"):
        write_pin(data)


def test_a_list_of_another_encoding_is_kept_as_it_is(data: Path) -> None:
    (data / ".dvcignore").write_bytes(b"# f\xfcr DVC\n")
    write_pin(data)
    assert (data / ".dvcignore").read_bytes() == b"# f\xfcr DVC\n/sealed_test*\n"
    check_pin(data)


def test_a_proposed_command_can_be_pasted(tmp_path: Path) -> None:
    folder = write(tmp_path / "My Data", **{"a.txt": "one\n"})
    write_pin(folder)
    write(folder, **{"a.txt": "two\n"})
    with pytest.raises(InputError, match=r"minivess data pin '.*/My Data'"):
        check_pin(folder)
