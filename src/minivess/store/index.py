"""The index of the events: an SQLite database in WAL mode, built from the event files and rebuilt when it is lost."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from minivess.errors import StoreError
from minivess.store.events import FOLDER, Event, events_of

SCHEMA_VERSION = 2
#: Names are part of the file format: ``case_id`` is an image id, a ``rival`` is a revision in conflict, ``places`` are queue
#: items, ``worth`` is the expected number of errors, ``seen`` is the revision that was last served to a user.
_SCHEMA = """
CREATE TABLE cases (
    id TEXT PRIMARY KEY, folded TEXT NOT NULL UNIQUE, path TEXT NOT NULL, info TEXT NOT NULL, removed INTEGER NOT NULL DEFAULT 0,
    last INTEGER NOT NULL
);
CREATE TABLE revisions (
    case_id TEXT NOT NULL, number INTEGER NOT NULL, tag TEXT NOT NULL, sha256 TEXT NOT NULL, base INTEGER, actor TEXT NOT NULL,
    time_utc TEXT NOT NULL, state TEXT NOT NULL, key TEXT NOT NULL, upload TEXT NOT NULL, info TEXT NOT NULL,
    PRIMARY KEY (case_id, number)
);
CREATE UNIQUE INDEX one_head ON revisions (case_id, tag) WHERE state = 'current';
CREATE INDEX by_key ON revisions (case_id, key);
CREATE INDEX by_state ON revisions (state, tag);
CREATE TABLE reviews (
    case_id TEXT NOT NULL, number INTEGER NOT NULL, revision INTEGER NOT NULL, actor TEXT NOT NULL, time_utc TEXT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (case_id, number)
);
CREATE TABLE places (
    case_id TEXT NOT NULL, queue INTEGER NOT NULL, rank INTEGER NOT NULL, worth REAL NOT NULL, region TEXT NOT NULL,
    state TEXT NOT NULL, holder TEXT NOT NULL, until REAL NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (case_id, queue, rank)
);
CREATE INDEX by_worth ON places (state, worth);
CREATE TABLE leases (case_id TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE seen (case_id TEXT NOT NULL, tag TEXT NOT NULL, holder TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (case_id, tag, holder));
CREATE TABLE notes (case_id TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
_logger = logging.getLogger(__name__)


class Index:
    """The index of a store, with one connection per thread.

    Attributes:
        rebuilt: Why the index was rebuilt when it was opened; empty when it was not, or when there were no events.
    """

    def __init__(self, root: Path) -> None:
        """Open the index of a store; build it from the event files when it is missing, damaged or of another version.

        Raises:
            StoreError: When the folder cannot be written, or the file of an event is damaged.
        """
        self.root = root
        self.path = root / "index.sqlite"
        self._local = threading.local()
        self._lock = FileLock(root / ".index.lock")
        self.rebuilt = ""
        try:
            with self._lock:
                reason = self._find_fault()
                if reason:
                    self.rebuild(reason)
        except OSError as error:
            raise StoreError(f"The store in {root} cannot be written: {error.strerror or error}. Nothing was changed.") from error
        except sqlite3.Error as error:
            raise _as_store_error(error) from error

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread.

        Raises:
            StoreError: When the index cannot be opened, for example on a disk that has become read-only.
        """
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                connection = self._local.connection = _connect(self.path)
            except sqlite3.Error as error:
                raise _as_store_error(error) from error
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction with the one write lock of the store: all changes of the block are committed, or none.

        Yields:
            The connection of this thread.

        Raises:
            StoreError: When the disk is full, read-only or damaged, or another writer has the lock for 30 seconds.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _as_store_error(error) from error
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _as_store_error(error) from error
            raise

    def rebuild(self, reason: str) -> int:
        """Build the index from the event files; an existing index is renamed to ``index.TIME.damaged``.

        Args:
            reason: Why it is rebuilt, for the log.

        Returns:
            Number of events.

        Raises:
            StoreError: When the file of an event is damaged.
            OSError: When the index cannot be written.
        """
        self.close()
        new = self.path.with_name("index.new.sqlite")
        new.unlink(missing_ok=True)
        connection = sqlite3.connect(new, isolation_level=None)
        count = 0
        try:
            connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};")
            for folder in sorted((self.root / FOLDER).glob("*")):
                for event in events_of(folder):
                    apply(connection, event)
                    count += 1
            connection.execute("COMMIT")
        finally:
            connection.close()
        if self.path.exists() and self.path.stat().st_size:
            self.path.rename(self.path.with_name(f"index.{time.strftime('%Y%m%d-%H%M%S')}.damaged"))
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        new.replace(self.path)
        if count:
            self.rebuilt = reason
            _logger.warning("the index of the store was rebuilt from %d events: %s", count, reason)
        return count

    def close(self) -> None:
        """Close the connection of this thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _find_fault(self) -> str:
        """Return why the index must be rebuilt; empty when it is usable."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return "it was missing"
        try:
            connection = _connect(self.path)
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                check = connection.execute("PRAGMA quick_check").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            return f"it was damaged ({error})"
        if version != SCHEMA_VERSION:
            return f"it had version {version}, this program uses {SCHEMA_VERSION}"
        return "" if check == "ok" else f"it was damaged ({check})"


def apply(connection: sqlite3.Connection, event: Event) -> None:
    """Apply one event to the index.

    Args:
        connection: Connection with an open transaction.
        event: The event.
    """
    _APPLY[event.kind](connection, event)
    connection.execute("UPDATE cases SET last = ? WHERE id = ?", (event.number, event.image_id))


def _case(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute(
        "INSERT INTO cases (id, folded, path, info, last) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET path = excluded.path, info = excluded.info, removed = 0",
        (event.image_id, event.image_id.casefold(), event.body["path"], json.dumps(event.body.get("info", {})), event.number),
    )


def _info(connection: sqlite3.Connection, event: Event) -> None:
    if event.body.get("revision"):
        statement = "UPDATE revisions SET info = json_patch(info, ?) WHERE case_id = ? AND number = ?"
        connection.execute(statement, (json.dumps(event.body["info"]), event.image_id, event.body["revision"]))
    else:
        connection.execute(
            "UPDATE cases SET info = json_patch(info, ?) WHERE id = ?", (json.dumps(event.body["info"]), event.image_id)
        )


def _label(connection: sqlite3.Connection, event: Event) -> None:
    body = event.body
    state = "rival" if body.get("rival") else "current"
    if state == "current":
        connection.execute(
            "UPDATE revisions SET state = 'superseded' WHERE case_id = ? AND tag = ? AND state = 'current'",
            (event.image_id, body["tag"]),
        )
    connection.execute(
        "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.image_id, event.number, body["tag"], body["sha256"], body.get("base"), event.actor, event.time_utc, state,
            body.get("key", ""), body.get("upload", ""), json.dumps(body.get("info", {})),
        ),
    )  # fmt: skip


def _withdraw(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute(
        "UPDATE revisions SET state = 'withdrawn' WHERE case_id = ? AND tag = ? AND state = 'current'",
        (event.image_id, event.body["tag"]),
    )


def _settle(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute(
        "UPDATE revisions SET state = 'settled' WHERE case_id = ? AND tag = ? AND state = 'rival'",
        (event.image_id, event.body["tag"]),
    )


def _review(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute(
        "INSERT INTO reviews VALUES (?, ?, ?, ?, ?, ?)",
        (event.image_id, event.number, event.body["revision"], event.actor, event.time_utc, json.dumps(event.body["review"])),
    )


def _queue(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute("UPDATE places SET state = 'obsolete' WHERE case_id = ? AND state = 'pending'", (event.image_id,))
    connection.executemany(
        "INSERT INTO places VALUES (?, ?, ?, ?, ?, 'pending', '', 0, '{}')",
        [
            (event.image_id, event.number, rank, float(region.get("expected_errors", 0.0)), json.dumps(region))
            for rank, region in enumerate(event.body["regions"])
        ],
    )


def _answer(connection: sqlite3.Connection, event: Event) -> None:
    body = event.body
    holder = "" if body["verdict"] == "pending" else event.actor
    answer = json.dumps({**body["details"], "number": event.number})
    connection.execute(
        "UPDATE places SET state = ?, holder = ?, until = 0, answer = ? WHERE case_id = ? AND queue = ? AND rank = ?",
        (body["verdict"], holder, answer, event.image_id, body["queue"], body["rank"]),
    )


def _remove(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute("UPDATE cases SET removed = 1 WHERE id = ?", (event.image_id,))


_APPLY = {
    "case": _case,
    "info": _info,
    "label": _label,
    "withdraw": _withdraw,
    "settle": _settle,
    "review": _review,
    "queue": _queue,
    "answer": _answer,
    "remove": _remove,
}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _as_store_error(error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"The store's index cannot be used now ({error}). Nothing was changed. Is the disk full or read-only? Then try again."
    )
