"""The index of the events: an SQLite database in WAL mode, derived from the events and rebuilt when it is lost."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivess.errors import StoreError

SCHEMA_VERSION = 3
#: Names are part of the file format: ``case_id`` is an image id, a ``rival`` is a revision in conflict, ``places`` are queue
#: items, ``worth`` is what the queue is sorted by, ``seen`` is the revision that was last served to a user. ``applied`` is the
#: position in the audit chain up to which the index is complete; ``damaged`` holds the cases with events that cannot be read.
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
CREATE TABLE applied (seq INTEGER NOT NULL, offset INTEGER NOT NULL);
INSERT INTO applied VALUES (0, 0);
CREATE TABLE damaged (case_id TEXT PRIMARY KEY, fault TEXT NOT NULL);
CREATE TABLE notes (case_id TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
#: SQLITE_ERROR: a table is missing.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_logger = logging.getLogger(__name__)


class Index:
    """The index of a store, with one connection per thread.

    Attributes:
        rebuilt: Why the index was rebuilt when it was opened; empty when it was not, or when there were no events.
    """

    def __init__(self, root: Path) -> None:
        """Use the database in a store's folder; it is opened when it is first used."""
        self.path = root / "index.sqlite"
        self._local = threading.local()
        self.rebuilt = ""

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
                raise as_store_error(error) from error
        return connection

    def begin(self) -> sqlite3.Connection:
        """Open a transaction with the one write lock of the store, and return the connection of this thread.

        Raises:
            StoreError: When the disk is full, read-only or damaged, or another writer has the lock for 30 seconds.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        return self.connection

    def roll_back(self) -> None:
        """End the transaction of this thread without its changes; close the connection when that fails."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except StoreError:
            self.close()

    def rebuild(self, reason: str, fill: Callable[[sqlite3.Connection], int]) -> int:
        """Build the index again; a damaged one is kept as ``index.TIME.damaged``. No other process may use it now.

        Args:
            reason: Why it is rebuilt, for the log.
            fill: Applies all events, and returns their number.

        Returns:
            Number of events.

        Raises:
            StoreError: When the audit chain is damaged.
            OSError: When the index cannot be written.
        """
        self.close()
        new = self.path.with_name("index.new.sqlite")
        new.unlink(missing_ok=True)
        connection = sqlite3.connect(new, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};")
            count = fill(connection)
            connection.execute("COMMIT")
        finally:
            connection.close()
        if self.path.exists() and self.path.stat().st_size and self.find_fault():
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

    def find_fault(self) -> str:
        """Return why the index must be rebuilt; empty when it is usable.

        Raises:
            StoreError: When it cannot be read now, for example because the disk fails.
        """
        if not self.path.exists() or self.path.stat().st_size == 0:
            return "it was missing"
        try:
            connection = _connect(self.path)
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                check = connection.execute("PRAGMA quick_check").fetchone()[0]
                connection.execute("SELECT seq, offset FROM applied") if version == SCHEMA_VERSION else None
            finally:
                connection.close()
        except (StoreError, sqlite3.Error) as error:
            reason = error.__cause__ if isinstance(error, StoreError) else error
            if getattr(reason, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED:
                return f"it was damaged ({reason})"
            raise as_store_error(reason) from error
        if version != SCHEMA_VERSION:
            return f"it had version {version}, this program uses {SCHEMA_VERSION}"
        return "" if check == "ok" else f"it was damaged ({check})"


class _Connection(sqlite3.Connection):
    """A connection whose statements fail with StoreError."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        try:
            return super().execute(*arguments)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise as_store_error(error) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0, factory=_Connection)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # the audit chain is the commit point; a lost tail is applied again
    return connection


def as_store_error(error: BaseException | None) -> StoreError:
    """Return the exception for a failure of the index before the commit point."""
    return StoreError(
        f"The store's index cannot be used now ({error}). Nothing was changed. Is the disk full or read-only? Then try again."
    )
