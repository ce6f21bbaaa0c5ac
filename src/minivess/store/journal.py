"""How an event is entered: file, audit chain and index together, or none of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivess.errors import StoreError
from minivess.store.audit import AuditChain
from minivess.store.events import FOLDER, Event, Kind, events_of, numbers, path_of, write_event
from minivess.store.index import Index, apply

_SAID = ("tag", "sha256", "base", "rival", "revision", "places", "queue", "rank", "verdict")


class Journal:
    """The events, the chain and the index of one store."""

    def __init__(self, root: Path) -> None:
        """Open them, and finish what a process left half done when it died.

        Raises:
            StoreError: When the folder cannot be written, or its files are damaged.
        """
        self.root = root
        try:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store {root} cannot be made: {error.strerror}. "
                "Name a folder that you may write to: minivess serve --conf store_dir=FOLDER."
            ) from error
        self.audit = AuditChain(root / "audit")
        self.index = Index(root)
        self._catch_up()

    def folder(self, case_id: str) -> Path:
        """Where the files of a case lie."""
        return self.root / FOLDER / case_id

    def enter(self, case_id: str, kind: Kind, actor: str, body: Mapping[str, Any]) -> Event:
        """Enter one event.

        Raises:
            StoreError: When it cannot be kept; nothing was changed.
        """
        with on_disk(), self.index.transaction() as connection:
            event = Event(case_id, self.next_number(connection, case_id), kind, actor, dict(body))
            self.write(connection, event)
            return event

    def write(self, connection: sqlite3.Connection, event: Event) -> None:
        """Enter an event inside a transaction: the file is the truth, and without the audit chain nothing is done."""
        try:
            write_event(self.root, event)
            apply(connection, event)
            self._record(event, "entered")
        except BaseException:
            path_of(self.root, event).unlink(missing_ok=True)
            raise

    def next_number(self, connection: sqlite3.Connection, case_id: str) -> int:
        """Number of the next event of a case; what another process wrote there before it died is taken in first."""
        row = connection.execute("SELECT last FROM cases WHERE id = ?", (case_id,)).fetchone()
        last = int(row["last"]) if row else 0
        for event in events_of(self.folder(case_id), after=last):
            apply(connection, event)
            self._record(event, "recovered")
            last = event.number
        return last + 1

    def _catch_up(self) -> None:
        """Take in what is on the disk and not in the index: its writer died between the two."""
        with on_disk(), self.index.transaction() as connection:
            last = dict(connection.execute("SELECT id, last FROM cases"))
            for folder in sorted((self.root / FOLDER).glob("*")):
                if (numbers(folder) or [0])[-1] > last.get(folder.name, 0):
                    self.next_number(connection, folder.name)

    def _record(self, event: Event, how: str) -> None:
        said = {k: event.body.get(k) for k in _SAID}
        details = {k: v for k, v in said.items() if v or (v == 0 and v is not False)}  # the first place has rank 0
        self.audit.append(f"{event.kind}.{how}", actor=event.actor, case=event.case, details={"number": event.number, **details})


@contextmanager
def on_disk() -> Iterator[None]:
    """Say in plain words that the disk is full, read-only or broken."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The store cannot be written: {error.strerror or error}. Nothing was changed. Free space on the disk or mend its "
            "permissions, and submit again."
        ) from error
