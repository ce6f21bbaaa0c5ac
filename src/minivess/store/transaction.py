"""A transaction of the journal: events that are entered together."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from minivess.errors import StoreError
from minivess.store.audit import AuditEntry
from minivess.store.events import FOLDER, Event, event_path, write_event
from minivess.store.index_events import apply

#: Values of an event's body that its audit entry repeats; the names of on-disk keys do not change.
_AUDITED = ("tag", "sha256", "base", "rival", "revision", "places", "queue", "rank", "verdict")
_logger = logging.getLogger(__name__)


class Transaction:
    """Events that are entered together, with the index's connection.

    Attributes:
        connection: Connection with an open transaction.
        entries: Entries of the events for the audit chain.
    """

    def __init__(self, root: Path, connection: sqlite3.Connection, case_hmac: Callable[[str], str]) -> None:
        """Begin without events.

        Args:
            root: Folder of the store.
            connection: Connection with an open transaction.
            case_hmac: Image id -> the keyed hash by which the audit chain names it.
        """
        self._root = root
        self._case_hmac = case_hmac
        self._files: list[Path] = []
        self.connection = connection
        self.entries: list[AuditEntry] = []

    def next_number(self, image_id: str) -> int:
        """Return the number of the next event of a case; numbers of files that exist are left out.

        Raises:
            StoreError: When events of the case are damaged.
        """
        names = (image_id, self._case_hmac(image_id))  # a case whose folder is gone is known by its hash
        damaged = self.connection.execute("SELECT fault FROM damaged WHERE case_id IN (?, ?)", names).fetchone()
        if damaged is not None:
            raise StoreError(
                f"The history of {image_id} is damaged: {damaged['fault']}. Nothing is written to it. Restore the file from a "
                "backup of the store, then: minivess store repair STUDIES"
            )
        row = self.connection.execute("SELECT last FROM cases WHERE id = ?", (image_id,)).fetchone()
        number = int(row["last"]) + 1 if row else 1
        folder = self._root / FOLDER / image_id
        while any(folder.glob(f"{number:06d}-*")):
            number += 1
        return number

    def write(self, event: Event) -> None:
        """Write the file of an event and apply it to the index; both count when the transaction ends.

        Args:
            event: The event; its number is that of :meth:`next_number`.

        Raises:
            InputError: When it contains text or numbers that JSON cannot represent.
            OSError: When the file cannot be written.
        """
        self._files.append(event_path(self._root, event))
        sha256 = write_event(self._root, event)
        apply(self.connection, event)
        self.entries.append(audit_entry(event, "entered", sha256))

    def add_file(self, path: Path) -> None:
        """Delete a file, for example a label, when the transaction fails."""
        self._files.append(path)

    def discard(self) -> None:
        """Delete the files of a failed transaction; those that cannot be deleted are ignored from now on."""
        for path in self._files:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                _logger.warning("%s cannot be deleted; it is not part of the store", path)


def audit_entry(event: Event, how: str, sha256: str) -> AuditEntry:
    """Return the entry of an event for the audit chain.

    Args:
        event: The event.
        how: ``entered``, or ``adopted`` by an upgrade.
        sha256: Hash of the event's file.
    """
    values = {key: event.body.get(key) for key in _AUDITED}
    details = {key: v for key, v in values.items() if v or (v == 0 and v is not False)}  # the first item has rank 0
    return AuditEntry(f"{event.kind}.{how}", event.actor, event.image_id, {"number": event.number, "event": sha256, **details})
