"""Compare label files with their recorded hashes when they are read; an unchanged file is read for it once."""

from __future__ import annotations

import threading
from pathlib import Path

from cachetools import LRUCache

from minivess.store.events import file_fault

_State = tuple[int, int, int]


class CheckedFiles:
    """The files that were intact, with size, time of change and inode at that time."""

    def __init__(self, capacity: int = 100_000) -> None:
        """Begin without files; remember up to ``capacity`` of them."""
        self._intact: LRUCache[tuple[Path, str], _State] = LRUCache(capacity)
        self._lock = threading.Lock()

    def fault(self, path: Path, sha256: str) -> str:
        """Return what is wrong with a file, in words; empty when it is intact.

        Args:
            path: The file.
            sha256: Its recorded SHA-256.
        """
        try:
            status = path.stat()
        except OSError:
            return f"{path.name} is missing"
        state = (status.st_size, status.st_ctime_ns, status.st_ino)
        with self._lock:
            if self._intact.get((path, sha256)) == state:
                return ""
        fault = file_fault(path, sha256)
        if not fault:
            with self._lock:
                self._intact[path, sha256] = state
        return fault
