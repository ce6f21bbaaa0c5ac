"""Apply events to the tables of the index."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from minivess.store.events import Event


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


def _worth_of(region: Mapping[str, Any]) -> float:
    return float(region.get("queued_as", region.get("expected_errors", 0.0)))


def _queue(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute("UPDATE places SET state = 'obsolete' WHERE case_id = ? AND state = 'pending'", (event.image_id,))
    connection.executemany(  # reserved then: their answers are still to come
        "UPDATE places SET state = 'pending' WHERE case_id = ? AND queue = ? AND rank = ? AND state = 'obsolete'",
        [(event.image_id, *kept) for kept in event.body.get("kept", ())],
    )
    connection.executemany(
        "INSERT INTO places VALUES (?, ?, ?, ?, ?, 'pending', '', 0, '{}')",
        [
            (event.image_id, event.number, rank, _worth_of(region), json.dumps(region))
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
    if model := body["details"].get("model"):
        connection.execute(
            "UPDATE places SET region = json_set(region, '$.model', ?) WHERE case_id = ? AND queue = ? AND rank = ?",
            (model, event.image_id, body["queue"], body["rank"]),
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
