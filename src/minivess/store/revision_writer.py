"""Write a revision in one transaction: recognise a repeated submission, choose the base, detect a conflict."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivess.errors import InputError
from minivess.paths import file_sha256
from minivess.store.events import Event, label_path
from minivess.store.journal import Journal
from minivess.store.names import FINAL
from minivess.store.records import Revision


def current_revision(journal: Journal, image_id: str, tag: str) -> Revision | None:
    """Return the current revision of a tag; None when there is none.

    Args:
        journal: Journal of the store.
        image_id: The image.
        tag: The tag.
    """
    row = journal.connection.execute(
        "SELECT * FROM revisions WHERE case_id = ? AND tag = ? AND state = 'current'", (image_id, tag)
    ).fetchone()
    return Revision.from_row(row, journal.root) if row else None


def find_repeated(journal: Journal, image_id: str, actor: str, submission: Mapping[str, Any]) -> Revision | None:
    """Return the revision of an earlier, equal submission: a client repeats a request when it received no response.

    Args:
        journal: Journal of the store.
        image_id: The image.
        actor: Who submits.
        submission: ``tag``; ``key``, the idempotency key or an empty text; ``upload``, the hash of what was sent.

    Raises:
        InputError: When the key was used for another label.
    """
    tag, key, upload = submission["tag"], submission["key"], submission["upload"]
    connection = journal.connection
    if key:
        row = connection.execute(
            "SELECT * FROM revisions WHERE case_id = ? AND actor = ? AND key = ?", (image_id, actor, key)
        ).fetchone()
        if row is not None and (row["upload"], row["tag"]) != (upload, tag):
            raise InputError(f"The idempotency key {key[:40]!r} was used for another label. Use a new key for a new label.")
    else:
        row = connection.execute(
            "SELECT * FROM revisions WHERE case_id = ? AND tag = ? AND actor = ? ORDER BY number DESC", (image_id, tag, actor)
        ).fetchone()
        if row is not None and (row["upload"] != upload or row["state"] not in ("current", "rival")):
            row = None
    return Revision.from_row(row, journal.root) if row else None


def write_revision(
    journal: Journal, image_id: str, actor: str, file: Path, body: Mapping[str, Any], *, settle: bool = False
) -> Revision:
    """Move a label file into the store and enter its event.

    A ``final`` label whose base is not the current revision becomes a rival of it.

    Args:
        journal: Journal of the store.
        image_id: The image.
        actor: Who submits.
        file: The checked label, on the disk of the store; it is moved.
        body: Body of the event without hash and state: ``tag``, ``base``, ``key``, ``upload`` and ``info``. A base of None is
            replaced by the default base. An empty ``upload`` is never a repetition.
        settle: Whether the new revision, unless it is a rival itself, settles all rivals of its tag.

    Returns:
        The new revision, or the existing one of a submission that arrived twice at the same time.

    Raises:
        InputError: When the key was used for another label.
        StoreError: When something cannot be written; nothing was changed.
    """
    sha256 = file_sha256(file)
    with journal.transaction() as transaction:
        connection = transaction.connection
        number = transaction.next_number(image_id)
        repeated = find_repeated(journal, image_id, actor, body) if body["upload"] else None
        if repeated is not None:
            return repeated
        head = current_revision(journal, image_id, body["tag"])
        base = body["base"]
        if base is None:
            base = _default_base(connection, image_id, actor, body["tag"], head)
        rival = body["tag"] == FINAL and head is not None and (base or 0) != head.number
        target = label_path(journal.root, image_id, number, sha256)
        transaction.add_file(target)
        file.replace(target)
        transaction.write(Event(image_id, number, "label", actor, {**body, "base": base, "sha256": sha256, "rival": rival}))
        if settle and not rival and _has_rivals(connection, image_id, body["tag"]):
            settled = {"tag": body["tag"], "by": number}
            transaction.write(Event(image_id, transaction.next_number(image_id), "settle", actor, settled))
        row = connection.execute("SELECT * FROM revisions WHERE case_id = ? AND number = ?", (image_id, number)).fetchone()
        return Revision.from_row(row, journal.root)


def _has_rivals(connection: sqlite3.Connection, image_id: str, tag: str) -> bool:
    statement = "SELECT 1 FROM revisions WHERE case_id = ? AND tag = ? AND state = 'rival'"
    return connection.execute(statement, (image_id, tag)).fetchone() is not None


def _default_base(connection: sqlite3.Connection, image_id: str, actor: str, tag: str, head: Revision | None) -> int | None:
    """Return the base of a submission that states none: the actor's last revision, or one that was served to the actor since.

    An imported head is always the base: it belongs to no user of the store, so that no submission conflicts with it.
    """
    if head is not None and head.info.imported:
        return head.number
    row = connection.execute(
        "SELECT MAX(number) AS number FROM (SELECT number FROM seen WHERE case_id = ? AND tag = ? AND holder = ? "
        "UNION SELECT number FROM revisions WHERE case_id = ? AND tag = ? AND actor = ? AND state != 'rival')",
        (image_id, tag, actor, image_id, tag, actor),
    ).fetchone()
    return row["number"] or None
