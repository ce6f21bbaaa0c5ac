"""Append to a file so that the data are on the disk, or the file is unchanged."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from minivess.errors import UncertainWriteError
from minivess.paths import fsync_folder


def append_durably(path: Path, data: bytes) -> int:
    """Append to a file and flush it to the disk; when that fails, truncate the file to its old length.

    Args:
        path: The file; it is created when it is missing.
        data: What to append.

    Returns:
        The new length of the file in bytes.

    Raises:
        OSError: When it cannot be written; the file is unchanged.
        UncertainWriteError: When it cannot be truncated either.
    """
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
            if new:
                fsync_folder(path.parent)
        except OSError as error:
            _truncate(descriptor, before, error)
            raise
        return before + len(data)
    finally:
        with contextlib.suppress(OSError):  # what counts is on the disk already, or was undone
            os.close(descriptor)


def _truncate(descriptor: int, size: int, reason: OSError) -> None:
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        raise UncertainWriteError(
            f"The disk failed while the change was written ({reason.strerror or reason}), and again while it was undone. It is "
            "not known whether the change was stored. When the disk works again, look, or send the same again: it is stored once."
        ) from error
