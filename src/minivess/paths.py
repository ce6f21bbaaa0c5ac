"""Write files and folders atomically, and locate the resources that are shipped with the package."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from minivess.errors import InputError, OutputError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
#: In the name of a folder that is being written; nobody else names one so.
_UNFINISHED, _LONGEST = ".minivess-unfinished-", 50
_CHECKOUT = Path(__file__).resolve().parents[2]
_SHARE = Path(__file__).resolve().parent / "share"


def resource_path(relative: str) -> Path:
    """Return the path of a shipped resource (``bundles/...``, ``monailabel_app``, ``maps/...``).

    The checkout is searched first, then the installed wheel.

    Raises:
        InputError: When the resource is in neither.
    """
    for root in (_CHECKOUT, _SHARE):
        if (root / relative).exists():
            return root / relative
    raise InputError(f"{relative} is neither in {_CHECKOUT} nor in {_SHARE}. Reinstall minivess.")


def fsync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a rename inside it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Flush the content of a file to the disk, so that it survives a power failure."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _report_as_output_error(path: Path) -> Iterator[None]:
    """Raise OutputError for ``path`` in place of an OSError of the block, unless that names another file, such as an input."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if _names_another(error, path):
            raise
        raise OutputError.from_os_error(path, error) from error


def _names_another(error: OSError, path: Path) -> bool:
    """Return whether an error names only files that are not ``path``, above it, in it, or in its temporary folder."""
    if error.errno in _FULL:  # shutil names the source of a copy that the disk has no space for
        return False
    named = [Path(name).absolute() for name in (error.filename, error.filename2) if isinstance(name, str)]
    return bool(named) and not any(_belongs_to(file, path.absolute()) for file in named)


def _belongs_to(file: Path, path: Path) -> bool:
    if path.is_relative_to(file) or file.is_relative_to(path):
        return True
    beside = file.relative_to(path.parent).parts[:1] if file.is_relative_to(path.parent) else ()
    return bool(beside) and beside[0].startswith(_unfinished(path.name))


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all: yield a temporary path that replaces ``path`` when the block succeeds.

    The temporary file is in the same folder and is flushed to the disk before it replaces ``path``. After a crash, ``path``
    holds the old content or the new content. The temporary name has the suffixes of ``path``, because many writers choose
    the format by the suffix.

    Yields:
        The temporary path to write to.

    Raises:
        OutputError: When the block or the replacement raises an OSError, for example on a full or read-only disk. One that names
            another file is raised as it is.
    """
    path = Path(path)
    with _report_as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_folder(path.parent, path.name) as folder:
            temporary = folder / path.name
            yield temporary
            fsync_file(temporary)
            temporary.replace(path)
            fsync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder completely or not at all: yield a temporary folder that becomes ``path`` when the block succeeds.

    An existing empty folder is filled; it may be a mount point or a symbolic link.

    Yields:
        The temporary folder to write to.

    Raises:
        OutputError: When ``path`` exists and is not an empty folder, or when the block or the replacement raises an OSError. One
            that names another file is raised as it is.
    """
    path = Path(path)
    exists = path.exists()
    if exists and path.is_dir():
        remove_abandoned(path, path.name)
    if exists and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"The output {path} exists and is not empty. Choose a new folder, or empty this one first.")
    with _report_as_output_error(path):
        # A mount point or a symbolic link cannot be replaced: the temporary folder is created inside it.
        parent = path if exists else path.parent
        parent.mkdir(parents=True, exist_ok=True)
        if not exists:
            remove_abandoned(parent, path.name)
        with _temporary_folder(parent, path.name) as temporary:
            yield temporary
            if exists:
                _move_content(temporary, path)
            else:
                temporary.chmod(0o777 & ~_umask())  # it was made private
                temporary.replace(path)
            fsync_folder(parent)


@contextmanager
def _temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder for what becomes a file or folder of this name, and remove it at the end.

    It is locked as long as this process lives, so that others can tell what is abandoned.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_unfinished(name), dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            break
        os.close(lock)  # it was taken for an abandoned one before it was locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _unfinished(name: str) -> str:
    """Return how the name of a folder begins that becomes something else; a name has at most 255 bytes."""
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 8]}{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    return f".{short}{_UNFINISHED}"


def remove_abandoned(parent: Path, name: str) -> None:
    """Remove temporary folders of :func:`atomic_file` and :func:`atomic_folder` whose process was killed.

    Args:
        parent: Folder in which it was written.
        name: Name of what was to be written.
    """
    for folder in parent.glob(f"{glob.escape(_unfinished(name))}????????"):
        if not folder.is_dir() or folder.is_symlink():
            continue
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # somebody works in it, or it is not ours
        finally:
            os.close(lock)


def _move_content(source: Path, target: Path) -> None:
    """Move all that is in a folder into another one; move it back when one move fails."""
    moved = []
    try:
        for file in sorted(source.iterdir(), reverse=True):  # result.json comes after the files that it names
            file.rename(target / file.name)
            moved.append(target / file.name)
    except OSError:
        for place in moved:
            with suppress(OSError):
                os.rename(place, source / place.name)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_json(path: Path, content: Any, *, mode: int = 0o644) -> None:
    """Write indented JSON with sorted keys, atomically.

    Args:
        path: File to write.
        content: Any value that ``json.dumps`` accepts, without NaN and infinity.
        mode: Permissions of the file.

    Raises:
        ValueError: When a number is not finite.
        OutputError: When the file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.touch(mode=mode)
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def find_bundle(model_path: Path) -> Path:
    """Return the path of a bundle, or of the only bundle in a folder of models, which is the layout of MAPs.

    Args:
        model_path: A bundle, or a folder that contains one.

    Raises:
        InputError: When the folder contains no bundle, or more than one.
    """
    if (model_path / "configs").is_dir():
        return model_path
    bundles = sorted(f.parent for f in model_path.glob("*/configs") if f.is_dir())
    if len(bundles) != 1:
        names = ", ".join(b.name for b in bundles) or "none"
        raise InputError(f"The model folder {model_path} must contain one bundle. Got {names}. Name a trained bundle.")
    return bundles[0]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """Return the SHA-256 of a file that is asked for often; it is read again when its time, size or inode have changed."""
    about = path.stat()
    return _sha256_of(path, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(maxsize=16)
def _sha256_of(path: Path, _mtime_ns: int, _size: int, _inode: int) -> str:
    return file_sha256(path)
