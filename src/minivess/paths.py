"""How a file is written so that a crash leaves the old one or the new one, never half; and where the doors lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivess.errors import InputError, OutputError

_CHECKOUT = Path(__file__).resolve().parents[2]
_SHARE = Path(__file__).resolve().parent / "share"


def door(relative: str) -> Path:
    """Find a door (``bundles/...``, ``monailabel_app``, ``maps/...``) in the checkout, or in the installed wheel.

    Raises:
        InputError: When it is in neither.
    """
    for root in (_CHECKOUT, _SHARE):
        if (root / relative).exists():
            return root / relative
    raise InputError(f"{relative} is neither in {_CHECKOUT} nor in {_SHARE}. Reinstall minivess.")


def fsync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the content of a file survive a power cut."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that replaces it, after fsync, when the block ends without an error.

    The temporary name keeps the suffixes of ``path``, since many writers choose the format by them.

    Raises:
        OutputError: When the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}. Choose a folder that you may write to.") from error
    temporary = folder / path.name
    try:
        yield temporary
        fsync_file(temporary)
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that becomes ``path`` when the block ends without an error.

    Either all of the output appears under ``path`` or none of it. An existing empty folder is replaced.

    Raises:
        OutputError: When ``path`` holds something already, or its parent cannot be written.
    """
    path = Path(path)
    there = path.exists()
    if there and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"The output {path} exists and is not empty. Name a new folder, or empty this one first.")
    # A folder that exists may be a mount point or a link, which nothing can replace: it is filled from a hidden one inside.
    inside = path if there else path.parent
    try:
        inside.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=inside))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}. Choose a folder that you may write to.") from error
    try:
        yield temporary
        if there:
            _move_in(temporary, path)
        else:
            temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
            temporary.replace(path)
        fsync_folder(inside)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_in(source: Path, target: Path) -> None:
    """Move every file of a folder into another, and take all of them back when one fails."""
    moved = []
    try:
        for file in sorted(source.iterdir(), reverse=True):  # result.json comes after the files that it names
            file.rename(target / file.name)
            moved.append(target / file.name)
    except OSError as error:
        for file in moved:
            file.unlink()
        raise OutputError(f"Cannot write {target}: {error.strerror}. Nothing was left there.") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def sha256_of(path: Path) -> str:
    """Hash a file, reading it in blocks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
