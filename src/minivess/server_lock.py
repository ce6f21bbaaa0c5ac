"""One label server for each store and each workspace: a second one would not see the drafts that the first has in memory."""

from __future__ import annotations

from pathlib import Path

from minivess.errors import ConflictError
from minivess.process_lock import ProcessLock

#: In the folder of a store and of a workspace.
SERVER_LOCK = ".server.lock"


def lock_for_server(folder: Path) -> ProcessLock:
    """Lock the folder of a store or of a workspace until the process ends.

    Raises:
        ConflictError: When another server has locked it.
        OSError: When the lock file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(folder / SERVER_LOCK)
    if not lock.take(exclusive=True):
        holder = lock.holder()
        lock.release()
        raise ConflictError(
            f"Another label server uses {folder} ({holder or 'an unknown process'}). Nothing was changed. Use that server, or "
            "stop it first. Two servers need two studies folders and two workspaces."
        )
    lock.sign("a label server")
    return lock
