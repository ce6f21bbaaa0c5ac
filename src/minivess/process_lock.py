"""Locks that a process holds until it releases them or ends, however it ends: flock(2) on a file."""

from __future__ import annotations

import fcntl
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ProcessLock:
    """A lock on a file: many processes may hold it shared, or one may hold it exclusively. The file is never deleted.

    Attributes:
        release: Function that releases the lock and closes the file; called when the object is deleted, too.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; create it when it is missing.

        Raises:
            OSError: When the file cannot be opened.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.release = weakref.finalize(self, os.close, self._descriptor)  # releases the lock, too; also when nobody uses it

    def take(self, *, exclusive: bool) -> bool:
        """Try to take the lock, or to change between shared and exclusive; do not wait.

        Args:
            exclusive: Whether no other process may hold it.

        Returns:
            Whether the lock is held as requested; False when another process prevents it.
        """
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def exclusively(self) -> Iterator[bool]:
        """Hold the lock exclusively in the block and shared after it; yield whether that is possible now."""
        taken = self.take(exclusive=True)
        if not taken:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # a failed change may have released it
        try:
            yield taken
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def sign(self, purpose: str) -> None:
        """Write into the file who holds it, for the message of a process that is refused."""
        text = f"{purpose}, process {os.getpid()} on {socket.gethostname()}"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def holder(self) -> str:
        """Return what the last holder wrote into the file; empty when nothing."""
        return self.path.read_text(errors="replace")[:200]
