"""Unpack an archive from a stranger: all of it inside one folder and within limits, or nothing."""

from __future__ import annotations

import functools
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from minivess.errors import InputError, UnsafeFileError
from minivess.paths import atomic_folder

_BLOCK = 2**20


@dataclass(frozen=True)
class ArchiveLimits:
    """How much may come out of an archive.

    Attributes:
        members: Number of files and folders.
        total_bytes: Size of all of them, unpacked.
        ratio: Unpacked bytes a packed byte; images seldom reach ten.
        name_characters: Length of a member's path.
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
    """Unpack a zip or tar file into a folder that does not exist yet.

    Every member is looked at before the first is written: a name that is absolute or holds ``..``, a link, a device, or more
    than the limits allow refuses the whole archive.

    Returns:
        The files, as paths below ``target``.

    Raises:
        UnsafeFileError: When the archive is refused; nothing was written.
        InputError: When it is no archive, or damaged.
    """
    limits = limits or ArchiveLimits()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _extract(list(_zip_members(opened)), archive, target, limits)
        with tarfile.open(archive) as opened_tar:
            return _extract(list(_tar_members(opened_tar, limits)), archive, target, limits)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive.name} is no whole zip or tar file ({error}). Pack it again.") from error


def _extract(members: list[_Member], archive: Path, target: Path, limits: ArchiveLimits) -> list[Path]:
    _check(members, archive, limits)
    written = []
    with atomic_folder(target) as folder:
        left = limits.total_bytes
        for member in members:
            place = folder / PurePosixPath(member.name)
            if member.is_folder:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            left -= _write(member, place, left)
            written.append(target / PurePosixPath(member.name))
    return written


def _check(members: list[_Member], archive: Path, limits: ArchiveLimits) -> None:
    total = sum(member.size for member in members)
    if len(members) > limits.members:
        raise UnsafeFileError(f"{archive.name} holds {len(members)} members or more; allowed {limits.members}.")
    if total > limits.total_bytes or total > limits.ratio * max(archive.stat().st_size, 1):
        raise UnsafeFileError(
            f"{archive.name} would grow to {total} bytes; allowed {limits.total_bytes}, and {limits.ratio} times its own size."
        )
    for member in members:
        path = PurePosixPath(member.name.replace("\\", "/"))
        outside = path.is_absolute() or ".." in path.parts or ":" in member.name or "\0" in member.name
        if outside or len(member.name) > limits.name_characters:
            raise UnsafeFileError(f"{archive.name} holds a name that reaches elsewhere or is too long: {member.name[:60]!a}.")
        if not (member.is_file or member.is_folder):
            raise UnsafeFileError(f"{archive.name} holds a link or a device: {member.name[:60]!a}. Pack the files themselves.")


def _write(member: _Member, place: Path, left: int) -> int:
    size = 0
    source = member.open()
    if source is None:  # tarfile's word for what is no file
        raise UnsafeFileError(f"{member.name[:60]} is no file.")
    with source, place.open("xb") as copy:
        while block := source.read(_BLOCK):
            size += len(block)
            if size > left:  # it holds more than it said
                raise UnsafeFileError(f"{member.name[:60]} is larger than the archive says.")
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
            raise UnsafeFileError(f"The archive holds more than {limits.members} members or {limits.total_bytes} bytes.")
        yield _Member(info.name, info.size, info.isdir(), info.isreg(), functools.partial(opened.extractfile, info))
