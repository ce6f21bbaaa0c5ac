"""The journal: events are entered into the store by one commit point, the entry in the audit chain.

In a transaction, the files of the events are written first, then their entries are appended to the chain, then the index is
committed. What fails before the entries are on the disk changes nothing: an event without an entry is ignored. What fails after
that does not undo the change: the index is completed from the chain before it is used again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from minivess.errors import StoreError, UncertainWriteError
from minivess.process_lock import ProcessLock
from minivess.store.audit import AuditChain, Position
from minivess.store.chain_events import ChainEvents
from minivess.store.events import FOLDER, Event, EventKind
from minivess.store.format import require_format, write_format
from minivess.store.index import Index, as_store_error
from minivess.store.index_events import apply
from minivess.store.transaction import Transaction

_RESTORE = "Restore the folder audit from a backup; docs/howto/store.md says what to do without one."
_logger = logging.getLogger(__name__)


def refuse_lost_chain(root: Path) -> None:
    """Refuse a store whose audit chain was lost, before another one is begun in its place.

    Raises:
        StoreError: When there are events, and no chain that they are in.
    """
    chain = root / "audit" / "chain.jsonl"
    if chain.is_file() and chain.stat().st_size:
        return
    # a first start that was interrupted leaves events of the kind "case" only
    if next((root / FOLDER).glob("[!.]*/[0-9]*-[!c]*.json"), None) is not None:
        raise StoreError(f"{chain} is missing, but there are events. Nothing was changed. {_RESTORE}")


class Journal:
    """The events, the chain and the index of one store, in use by this process until :meth:`close`."""

    def __init__(self, root: Path) -> None:
        """Open the store's folder, together with other processes.

        Raises:
            StoreError: When the folder cannot be written, has another format, is being repaired or its files are damaged.
        """
        self.root = root
        try:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store {root} cannot be created: {error.strerror or error}. "
                "Choose a folder that you may write to: minivess serve --conf store_dir=FOLDER."
            ) from error
        self._behind = False
        with on_disk(), FileLock(root / ".index.lock"):
            self.lock = ProcessLock(root / ".lock")
            if not self.lock.take(exclusive=False):
                raise StoreError(f"The store {root} is in use by {self.lock.holder()}. Wait until it has ended.")
            require_format(root)
            write_format(root)
            refuse_lost_chain(root)
            self.audit = AuditChain(root / "audit")
            self.index = Index(root)
            self._chain_events = ChainEvents(root, self.audit)
            self._prepare_index()

    @property
    def connection(self) -> sqlite3.Connection:
        """The index's connection of this thread, for reading.

        Raises:
            StoreError: When the index cannot be opened or completed, for example on a disk that has become read-only.
        """
        connection = self.index.connection
        if self._behind and not connection.in_transaction:
            self._complete_index()
        return connection

    @property
    def rebuilt(self) -> str:
        """Why the index was rebuilt when the store was opened; empty when it was not, or when there were no events."""
        return self.index.rebuilt

    def close(self) -> None:
        """Close the index of this thread, and let other processes repair the store."""
        self.index.close()
        self.lock.release()

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
            InputError: When ``body`` contains text or numbers that JSON cannot represent.
            StoreError: When the event cannot be written; nothing was changed.
        """
        with self.transaction() as transaction:
            event = Event(image_id, transaction.next_number(image_id), kind, actor, dict(body))
            transaction.write(event)
            return event

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction with the one write lock of the store: all events of the block are entered, or none.

        Yields:
            The transaction.

        Raises:
            StoreError: When something cannot be written; nothing was changed.
            UncertainWriteError: When it is not known whether the events were entered.
        """
        with on_disk():
            transaction = Transaction(self.root, self.index.begin(), self.audit.case_hmac)
            end: Position | None = None
            try:
                self._catch_up(transaction.connection)
                yield transaction
                if transaction.entries:
                    end = self.audit.append_all(transaction.entries)  # the commit point
            except BaseException as error:
                self.index.roll_back()
                if isinstance(error, UncertainWriteError) or not isinstance(error, Exception):
                    self._behind = True  # the entries may be in the chain, so that their files must stay
                else:
                    transaction.discard()
                if isinstance(error, sqlite3.Error):
                    raise as_store_error(error) from error
                raise
            self._commit(transaction.connection, end)

    def rebuild(self, reason: str) -> int:
        """Build the index again from the chain and the events.

        Args:
            reason: Why, for the log.

        Returns:
            Number of events.

        Raises:
            StoreError: When another process uses the store, or the audit chain is damaged.
            OSError: When the index cannot be written.
        """
        with self.lock.exclusively() as alone:
            if not alone:
                raise StoreError(
                    f"The index of {self.root} cannot be rebuilt ({reason}) while another process uses the store, for example "
                    "minivess serve. Nothing was changed. Stop it first."
                )
            self.lock.sign("a rebuild of its index")
            return self.rebuild_alone(reason)

    def rebuild_alone(self, reason: str) -> int:
        """Build the index again while this process holds the lock of the store exclusively; see :meth:`rebuild`."""
        return self.index.rebuild(reason, lambda connection: self._apply(connection, Position(0, 0)))

    def _prepare_index(self) -> None:
        reason = self.index.find_fault()
        if reason:
            self.rebuild(reason)
        with self.transaction():
            pass  # complete the index from the chain

    def _complete_index(self) -> None:
        try:
            with self.transaction():
                pass
        except StoreError as error:
            raise StoreError(
                "What was acknowledged is stored, but the index of the store cannot be completed now: the disk fails. Is it full "
                "or read-only? Then try again."
            ) from error

    def _commit(self, connection: sqlite3.Connection, end: Position | None) -> None:
        """Commit the index. After the commit point a failure is no refusal: the index is completed before it is read again."""
        try:
            if end is not None:
                connection.execute("UPDATE applied SET seq = ?, offset = ?", (end.seq, end.offset))
            connection.execute("COMMIT")
            self._behind = False
        except StoreError as error:
            self.index.roll_back()
            if end is None:
                raise
            self._behind = True
            _logger.warning("what was stored is in the audit chain, but not yet in the index: %s", error.__cause__ or error)

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Apply the events that are in the chain but not in the index: a process ended, or its disk failed, in between."""
        row = connection.execute("SELECT seq, offset FROM applied").fetchone()
        size = self.audit.size()
        if size < row["offset"]:
            raise StoreError(
                f"The audit chain {self.audit.path} is shorter than the index: its end is missing. Nothing changed. {_RESTORE}"
            )
        if size > row["offset"]:
            self._apply(connection, Position(row["seq"], row["offset"]))

    def _apply(self, connection: sqlite3.Connection, start: Position) -> int:
        count, position = 0, start
        for event, fault, image_id, end, _ in self._chain_events.after(start):
            position = end
            if event is not None:
                apply(connection, event)
                count += 1
            elif fault:
                _logger.error("%s: %s", image_id, fault)
                connection.execute("INSERT OR IGNORE INTO damaged VALUES (?, ?)", (image_id, fault))
        connection.execute("UPDATE applied SET seq = ?, offset = ?", (position.seq, position.offset))
        return count


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
