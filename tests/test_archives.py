"""Untrusted archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minivess.archives import ArchiveLimits, extract_archive
from minivess.errors import InputError, UnsafeFileError


def zip_of(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def tar_of(path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def linked_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return path


def test_extract_archive__returns_all_files(tmp_path: Path) -> None:
    for archive in (
        zip_of(tmp_path / "a.zip", series__1=b"one", series__2=b"two"),
        tar_of(tmp_path / "a.tgz", member("series", tarfile.DIRTYPE), member("series/1"), member("series/2"), content=b"x"),
    ):
        out = tmp_path / f"out-{archive.name}"
        assert extract_archive(archive, out) == [out / "series" / "1", out / "series" / "2"]
        assert (out / "series" / "2").read_bytes() in (b"two", b"x")


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "zip with ..": lambda p: zip_of(p, ok=b"1", **{"..__evil": b"2"}),
    "absolute zip": lambda p: zip_of(p, __evil=b"2"),
    "drive": lambda p: zip_of(p, **{"C:\\evil": b"2"}),
    "backslashes": lambda p: zip_of(p, **{"..\\evil": b"2"}),
    "zip with a link": linked_zip,
    "tar with ..": lambda p: tar_of(p, member("../evil"), content=b"2"),
    "absolute tar": lambda p: tar_of(p, member("/evil"), content=b"2"),
    "symlink, then a file through it": lambda p: tar_of(p, member("d", tarfile.SYMTYPE, ".."), member("d/evil"), content=b"2"),
    "hard link": lambda p: tar_of(p, member("h", tarfile.LNKTYPE, "/etc/passwd")),
    "device": lambda p: tar_of(p, member("d", tarfile.CHRTYPE)),
    "bomb": lambda p: zip_of(p, big=bytes(200_000_000)),
    "tar bomb": lambda p: tar_of(p, member("big"), content=bytes(50_000_000)),
    "long name": lambda p: zip_of(p, **{"n" * 300: b""}),
    "many members": lambda p: zip_of(p, **{f"m{i}": b"" for i in range(60)}),
}


@pytest.mark.row(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_what_reaches_out_or_blows_up_is_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    box = tmp_path / "box"
    box.mkdir()
    archive = HOSTILE[name](tmp_path / "archive")
    with pytest.raises(UnsafeFileError):
        extract_archive(archive, box / "out", limits=ArchiveLimits(members=50))
    assert list(box.iterdir()) == []
    assert sorted(f.name for f in tmp_path.iterdir()) == ["archive", "box"]


@pytest.mark.row(20)
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_what_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.zip"):
        extract_archive(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_states_a_long_name_is_not_read_into_memory(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "bomb.tar.bz2"
    info = member("name", kind)
    info.size = 400 * 2**20
    with bz2.open(path, "wb") as stream:
        stream.write(info.tobuf(tarfile.USTAR_FORMAT))
        stream.write(bytes(2**20))  # the rest would be zeros, too
    tracemalloc.start()
    with pytest.raises(UnsafeFileError, match="has a header of 419430400 bytes"):
        extract_archive(path, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_one_name_twice_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for names in (("a", "a"), ("a", "a/b"), ("a/b", "a")):
        archive = tar_of(tmp_path / "twice.tgz", *(member(name) for name in names), content=b"x")
        with pytest.raises(UnsafeFileError, match="twice"):
            extract_archive(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_compressed_archive_with_one_other_byte_is_not_extracted(tmp_path: Path, mode: str) -> None:
    content, archive = os.urandom(300_000), io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as opened:
        info = tarfile.TarInfo("slice.dcm")
        info.size = len(content)
        opened.addfile(info, io.BytesIO(content))
    changed = bytearray(archive.getvalue())
    changed[len(changed) // 2] ^= 0xFF
    (tmp_path / "archive").write_bytes(changed)
    with pytest.raises(InputError, match="is not a complete zip or tar file"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "archive").write_bytes(archive.getvalue())
    (extracted,) = extract_archive(tmp_path / "archive", tmp_path / "out")
    assert extracted.read_bytes() == content


def test_a_zip_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    content = zip_of(tmp_path / "x.zip", **{"\u00fc": b"x"}).read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace("\u00fc".encode(), b"\xff\xff"))
    with pytest.raises(InputError, match="is not a complete zip"):
        extract_archive(tmp_path / "x.zip", tmp_path / "out")


def test_what_follows_the_last_member_is_not_read_without_end(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:bz2") as opened:
        opened.addfile(member("a"), io.BytesIO())
    zeros = bz2.compress(bytes(2**20))
    (tmp_path / "x.tar.bz2").write_bytes(archive.getvalue() + zeros * 3)
    with pytest.raises(UnsafeFileError, match="goes on after its last member"):
        extract_archive(tmp_path / "x.tar.bz2", tmp_path / "out")


def test_the_older_form_of_lzma_is_read(tmp_path: Path) -> None:
    content = gzip.decompress(tar_of(tmp_path / "x.tar.gz", member("a"), content=b"12345").read_bytes())
    (tmp_path / "x.tar.lzma").write_bytes(lzma.compress(content, format=lzma.FORMAT_ALONE))
    (extracted,) = extract_archive(tmp_path / "x.tar.lzma", tmp_path / "out")
    assert extracted.read_bytes() == b"12345"


def test_a_tar_whose_last_member_is_a_zip_is_a_tar(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "table.xlsx", notes=b"inside")
    with tarfile.open(tmp_path / "scans.tar", "w") as archive:
        for name, content in (("scan1.dcm", b"one"), ("table.xlsx", zipped.read_bytes())):
            info = member(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    out = tmp_path / "out"
    assert extract_archive(tmp_path / "scans.tar", out) == [out / "scan1.dcm", out / "table.xlsx"]
