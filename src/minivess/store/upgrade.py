"""Upgrade a store of an older format; a copy of the old store is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from minivess.errors import InputError, StoreError
from minivess.process_lock import ProcessLock
from minivess.store.audit import AuditChain
from minivess.store.events import FOLDER, file_fault, label_path, read_event
from minivess.store.format import FORMAT, read_format, write_format
from minivess.store.transaction import audit_entry

_BATCH = 500


def upgrade_store(root: Path) -> dict[str, Any]:
    """Upgrade a store to the format of this program. Format 2 to 3: each event gets an entry with its hash in the audit chain.

    Args:
        root: Folder of the store; no process may use it.

    Returns:
        ``from`` and ``to``: the formats. ``copy``: folder with the old store, empty when nothing was to do. ``events``: number of
        events. ``faults``: labels that are missing or were changed before, in words.

    Raises:
        InputError: When there is no store, or a newer program has made it.
        StoreError: When another process uses the store, or an event is damaged.
        OSError: When a file cannot be written; the store still has its old format, and the upgrade can be repeated.
    """
    found = read_format(root)
    if found in (0, FORMAT):
        return {"from": found or FORMAT, "to": FORMAT, "copy": "", "events": 0, "faults": []}
    if found > FORMAT:
        raise InputError(f"The store {root} has format {found}; this program knows formats up to {FORMAT}. Use a newer one.")
    with FileLock(root / ".index.lock"):
        lock = ProcessLock(root / ".lock")
        try:
            if not lock.take(exclusive=True) or _is_open(root / "index.sqlite"):
                raise StoreError(f"Another process uses the store {root}, for example minivess serve. Stop it first.")
            lock.sign("minivess store upgrade")
            copy = root.with_name(f".{root.name}.format{found}-{time.time_ns()}")  # hidden: labels in it are no images
            shutil.copytree(root, copy, copy_function=_link_labels, ignore=shutil.ignore_patterns(".lock", ".index.lock"))
            faults, count = _adopt_events(root)
            (root / "index.sqlite").unlink(missing_ok=True)
            write_format(root)
        finally:
            lock.release()
    return {"from": found, "to": FORMAT, "copy": str(copy), "events": count, "faults": faults}


def _adopt_events(root: Path) -> tuple[list[str], int]:
    """Append an entry for each event that has none with its hash. Return faults of labels, and the number of events."""
    audit = AuditChain(root / "audit")
    adopted = {str(entry["details"].get("event")) for entry in audit.entries()}
    faults: list[str] = []
    entries = []
    count = 0
    for path in _event_files(root):
        event, sha256 = read_event(path)
        count += 1
        if event.kind == "label":
            label = label_path(root, event.image_id, event.number, event.body["sha256"])
            faults += [f"{event.image_id}: {fault}" for fault in [file_fault(label, event.body["sha256"])] if fault]
        if sha256 not in adopted:
            entries.append(audit_entry(event, "adopted", sha256))
    for start in range(0, len(entries), _BATCH):
        audit.append_all(entries[start : start + _BATCH])
    return faults, count


def _event_files(root: Path) -> Iterator[Path]:
    for folder in sorted((root / FOLDER).glob("[!.]*")):
        yield from sorted(folder.glob("[0-9]*-*.json"))


def _is_open(index: Path) -> bool:
    """Return whether any process has the index open: leaving WAL mode is refused while there is another connection."""
    if not index.is_file():
        return False
    try:
        connection = sqlite3.connect(index, timeout=1.0)
        try:
            return connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete"
        finally:
            connection.close()
    except sqlite3.Error as error:  # a damaged index is built again anyway
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _link_labels(source: str, target: str) -> None:
    """Copy a file; labels, which are never changed, are linked where the file system can do that."""
    if source.endswith(".nii.gz"):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)
