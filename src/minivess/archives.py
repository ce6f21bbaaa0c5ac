"""Extract untrusted zip and tar files: completely inside one folder and within limits, or not at all."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from minivess.errors import InputError, UnsafeFileError
from minivess.paths import atomic_folder

_BLOCK = 2**20
#: Exceptions by which the standard library reports a damaged or unsupported archive.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)


#: First bytes of a compressed file -> what reads it.
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb")),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x5d\0\0": lzma.LZMAFile,
}

#: Headers of a tar file that hold a long name or attributes; tarfile reads each wholly into memory.
_LONG_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONGEST_HEADER = 2**16
#: First bytes of a zip file: of its first member, or of its end when it is empty.
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


class _TarInfo(tarfile.TarInfo):
    """A header of a tar file, refused before its content is read where that is larger than any name."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _LONG_HEADERS and info.size > _LONGEST_HEADER:
            raise UnsafeFileError(f"The archive has a header of {info.size} bytes; allowed are {_LONGEST_HEADER}.")
        return info


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of an archive and its extracted content.

    Attributes:
        members: Maximum number of files and folders.
        total_bytes: Maximum size of all files after extraction.
        ratio: Maximum size after extraction, as a multiple of the archive's size; images seldom reach ten.
        name_characters: Maximum length of a member's path.
    """

    members: int = 20_000
    total_bytes: int = 4 * 2**30
    ratio: int = 200
    name_characters: int = 200


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes] | None]


def extract_archive(archive: Path, target: Path, *, limits: ArchiveLimits | None = None) -> list[Path]:
    """Extract a zip or tar file into a new or empty folder.

    All members are checked before the first one is written. The whole archive is refused when a member has an absolute
    path or a path with ``..``, is a link or a device, or exceeds the limits.

    Args:
        archive: Zip file, or tar file with or without compression.
        target: Folder to create.
        limits: Limits of the archive; those of ``ArchiveLimits()`` by default.

    Returns:
        Paths of the extracted files, below ``target``.

    Raises:
        UnsafeFileError: When the archive is refused; nothing was written.
        InputError: When the file is not a zip or tar file, or is damaged; nothing was written.
        OutputError: When ``target`` is not empty or cannot be written.
    """
    limits = limits or ArchiveLimits()
    try:
        if _is_zip(archive):
            with zipfile.ZipFile(archive) as opened:
                return _extract(list(_zip_members(opened)), archive, target, limits)
        with _tar_stream(archive) as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=_TarInfo) as opened_tar:
            return _extract(list(_tar_members(opened_tar, limits)), archive, target, limits, rest=stream)
    except _DAMAGED as error:
        raise InputError(f"{archive.name} is not a complete zip or tar file ({error}). Create the archive again.") from error


def _is_zip(archive: Path) -> bool:
    """Return whether a file begins as a zip file: one that only ends so may be a tar file whose last member is one."""
    with archive.open("rb") as file:
        return file.read(4) in _ZIP_STARTS


@contextmanager
def _tar_stream(archive: Path) -> Iterator[IO[bytes]]:
    """Open a tar file, decompressed as its first bytes say."""
    with archive.open("rb") as file:
        start = file.read(6)
        opening = next((opening for magic, opening in _COMPRESSIONS.items() if start.startswith(magic)), None)
        file.seek(0)
        if opening is None:
            yield file
            return
        with opening(file) as stream:
            try:
                yield stream
            except OSError as error:  # bz2 has no error of its own
                if error.errno is not None:  # of the disk
                    raise
                raise zlib.error(str(error)) from error


def _extract(
    members: list[_Member], archive: Path, target: Path, limits: ArchiveLimits, *, rest: IO[bytes] | None = None
) -> list[Path]:
    """Extract members; ``rest`` is read to its end before they count: the checksum of a compressed file comes last."""
    _check_members(members, archive, limits)
    written = []
    with atomic_folder(target) as folder:
        remaining = limits.total_bytes
        for member in members:
            path = folder / PurePosixPath(member.name)
            try:
                (path if member.is_folder else path.parent).mkdir(parents=True, exist_ok=True)
                if member.is_folder:
                    continue
                remaining -= _write(member, path, remaining)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise UnsafeFileError(
                    f"{archive.name} contains {member.name[:60]!a} twice, or as a file and as a folder."
                ) from error
            written.append(target / PurePosixPath(member.name))
        if rest is not None:
            _read_to_end(rest, archive)
    return written


def _read_to_end(stream: IO[bytes], archive: Path) -> None:
    """Read what follows the last member, so that the checksum of a compressed file is compared; padding is short."""
    size = 0
    while block := stream.read(_BLOCK):
        size += len(block)
        if size > _BLOCK:
            raise UnsafeFileError(f"{archive.name} goes on after its last member.")


def _check_members(members: list[_Member], archive: Path, limits: ArchiveLimits) -> None:
    # tarfile.data_filter is no replacement: it strips the leading slash of an absolute path, allows links, and knows no zip.
    total = sum(member.size for member in members)
    if len(members) > limits.members:
        raise UnsafeFileError(f"{archive.name} has {len(members)} members or more; allowed are {limits.members}.")
    if total > limits.total_bytes or total > limits.ratio * max(archive.stat().st_size, 1):
        raise UnsafeFileError(
            f"{archive.name} has {total} bytes after extraction; allowed are {limits.total_bytes} bytes and {limits.ratio} times "
            "the size of the archive."
        )
    for member in members:
        path = PurePosixPath(member.name.replace("\\", "/"))
        outside = path.is_absolute() or ".." in path.parts or ":" in member.name or "\0" in member.name
        if outside or len(member.name) > limits.name_characters:
            raise UnsafeFileError(
                f"{archive.name} contains a path that leaves its folder or is too long: {member.name[:60]!a}. "
                f"Allowed are relative paths without '..', of at most {limits.name_characters} characters."
            )
        if not (member.is_file or member.is_folder):
            raise UnsafeFileError(f"{archive.name} contains a link or a device: {member.name[:60]!a}. Pack the files themselves.")


def _write(member: _Member, path: Path, remaining: int) -> int:
    """Write one member and return its size; the size that the archive states is not trusted."""
    size = 0
    source = member.open()
    if source is None:  # tarfile returns None for a member without content
        raise UnsafeFileError(f"{member.name[:60]} is not a regular file.")
    with source, path.open("xb") as copy:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > remaining:
                raise UnsafeFileError(f"{member.name[:60]} is larger than the archive states.")
            copy.write(block)
    return size


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        special = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
        folder = info.is_dir()
        opening = functools.partial(opened.open, info)
        yield _Member(info.filename, info.file_size, folder and not special, not folder and not special, opening)


def _tar_members(opened: tarfile.TarFile, limits: ArchiveLimits) -> Iterator[_Member]:
    total = 0
    for count, info in enumerate(opened, start=1):
        total += info.size
        if count > limits.members or total > limits.total_bytes:
            raise UnsafeFileError(f"The archive has more than {limits.members} members or {limits.total_bytes} bytes.")
        yield _Member(info.name, info.size, info.isdir(), info.isreg(), functools.partial(opened.extractfile, info))
