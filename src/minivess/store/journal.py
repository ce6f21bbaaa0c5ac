"""The journal: an event is written to its file, the index and the audit chain, or to none of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivess.errors import StoreError
from minivess.store.audit import AuditChain
from minivess.store.events import FOLDER, Event, EventKind, event_path, events_of, numbers, write_event
from minivess.store.index import Index, apply

#: Values of an event's body that its audit entry repeats; the names of on-disk keys do not change.
_AUDITED = ("tag", "sha256", "base", "rival", "revision", "places", "queue", "rank", "verdict")


class Journal:
    """The events, the chain and the index of one store."""

    def __init__(self, root: Path) -> None:
        """Open the store's folder, and complete the events of processes that died before they updated the index.

        Raises:
            StoreError: When the folder cannot be written, or its files are damaged.
        """
        self.root = root
        try:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store {root} cannot be created: {error.strerror or error}. "
                "Choose a folder that you may write to: minivess serve --conf store_dir=FOLDER."
            ) from error
        self.audit = AuditChain(root / "audit")
        self.index = Index(root)
        self._catch_up()

    def folder(self, image_id: str) -> Path:
        """Return the folder of a case."""
        return self.root / FOLDER / image_id

    def enter(self, image_id: str, kind: EventKind, actor: str, body: Mapping[str, Any]) -> Event:
        """Enter one event in a transaction of its own.

        Args:
            image_id: The image.
            kind: What was done.
            actor: Who did it.
            body: Values of this kind of event, as JSON.

        Returns:
            The event, with its number.

        Raises:
            StoreError: When the event cannot be written; nothing was changed.
        """
        with on_disk(), self.index.transaction() as connection:
            event = Event(image_id, self.next_number(connection, image_id), kind, actor, dict(body))
            self.write(connection, event)
            return event

    def write(self, connection: sqlite3.Connection, event: Event) -> None:
        """Enter an event inside a transaction; when the file, the index or the audit chain fails, the file is removed.

        Args:
            connection: Connection with an open transaction.
            event: The event; its number is that of :meth:`next_number` in the same transaction.

        Raises:
            OutputError: When the file cannot be written.
            StoreError: When the audit chain cannot be written.
        """
        try:
            write_event(self.root, event)
            apply(connection, event)
            self._record(event, "entered")
        except BaseException:
            event_path(self.root, event).unlink(missing_ok=True)
            raise

    def next_number(self, connection: sqlite3.Connection, image_id: str) -> int:
        """Return the number of the next event of a case; add events that a dead process wrote to files only to the index first.

        Args:
            connection: Connection with an open transaction.
            image_id: The image.
        """
        row = connection.execute("SELECT last FROM cases WHERE id = ?", (image_id,)).fetchone()
        last = int(row["last"]) if row else 0
        for event in events_of(self.folder(image_id), after=last):
            apply(connection, event)
            self._record(event, "recovered")
            last = event.number
        return last + 1

    def _catch_up(self) -> None:
        """Add the events that are on the disk but not in the index: their writer died in between."""
        with on_disk(), self.index.transaction() as connection:
            last = dict(connection.execute("SELECT id, last FROM cases"))
            for folder in sorted((self.root / FOLDER).glob("*")):
                if (numbers(folder) or [0])[-1] > last.get(folder.name, 0):
                    self.next_number(connection, folder.name)

    def _record(self, event: Event, how: str) -> None:
        values = {key: event.body.get(key) for key in _AUDITED}
        details = {key: v for key, v in values.items() if v or (v == 0 and v is not False)}  # the first item has rank 0
        self.audit.append(
            f"{event.kind}.{how}", actor=event.actor, image_id=event.image_id, details={"number": event.number, **details}
        )


@contextmanager
def on_disk() -> Iterator[None]:
    """Convert an OSError of the block, an OutputError included, into a StoreError with a message for the user.

    Raises:
        StoreError: When the block raises an OSError, for example on a full or read-only disk.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The store cannot be written: {error.strerror or error}. Nothing was changed. Free space on the disk or correct its "
            "permissions, and submit again."
        ) from error
