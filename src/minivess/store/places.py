"""The queue of places that people should look at: proposed by a model, reserved, answered; every answer is an event."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from minivess.errors import ConflictError, InputError, NotFoundError
from minivess.store.events import Event
from minivess.store.journal import Journal, on_disk

#: What a person says of a place: it is right, it was wrong and is mended, or somebody else should look.
Answer = Literal["accepted", "fixed", "skipped"]
#: ``leased`` is a pending place that somebody is looking at; ``obsolete`` one that a newer model no longer asks about.
State = Literal["pending", "leased", "accepted", "fixed", "skipped", "obsolete"]
_ANSWERED = get_args(Answer)


@dataclass(frozen=True)
class Place:
    """One place of the queue.

    Attributes:
        id: ``CASE:QUEUE.RANK``.
        case: The image it lies in.
        region: What was proposed: box, kind, reason, expected errors and more, as plain values.
        state: Where it stands.
        holder: Who looks at it, or answered it.
        answer: What was said with the answer, and its ``number`` in the history of the case.
    """

    id: str
    case: str
    region: dict[str, Any]
    state: State
    holder: str
    answer: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {**self.region, "id": self.id, "case": self.case, "state": self.state, "by": self.holder, "answer": self.answer}


class Places:
    """All places of a store. Reservations live in the index alone; what was proposed and answered, in the events."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal that keeps them."""
        self._journal = journal

    def propose(self, case_id: str, regions: Sequence[Mapping[str, Any]], *, actor: str, about: Mapping[str, Any]) -> int:
        """Put new places in the queue of a case; older ones that nobody has answered become obsolete.

        Args:
            case_id: The image.
            regions: Plain values with at least ``box`` and ``expected_errors``, best first.
            actor: Who asked for it.
            about: What is known of all: the model, how they were ranked.

        Returns:
            The number of the queue.

        Raises:
            NotFoundError: When there is no such image.
            StoreError: When it cannot be kept; nothing was changed.
        """
        known = self._journal.index.connection.execute("SELECT 1 FROM cases WHERE id = ? AND removed = 0", (case_id,)).fetchone()
        if known is None:
            raise NotFoundError(f"There is no image {case_id!r}.")
        body = {"about": dict(about), "regions": [dict(region) for region in regions], "places": len(regions)}
        return self._journal.enter(case_id, "queue", actor, body).number

    def next(self, holder: str, *, seconds: float, case_id: str = "") -> Place | None:
        """Reserve the place that is most worth looking at, of a case or of all; None where none is left.

        What the holder has reserved already is given again first, so that an answer that was lost on the way costs nothing.
        """
        now = time.time()
        with self._journal.index.transaction() as connection:
            row = connection.execute(
                "SELECT * FROM places WHERE state = 'pending' AND (? = '' OR case_id = ?) AND (until < ? OR holder = ?) "
                "AND case_id IN (SELECT id FROM cases WHERE removed = 0) "
                "ORDER BY (until >= ? AND holder = ?) DESC, worth DESC, case_id, queue, rank LIMIT 1",
                (case_id, case_id, now, holder, now, holder),
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE places SET holder = ?, until = ? WHERE case_id = ? AND queue = ? AND rank = ?",
                (holder, now + seconds, row["case_id"], row["queue"], row["rank"]),
            )
        return self.get(f"{row['case_id']}:{row['queue']}.{row['rank']}")

    def take(self, place_id: str, holder: str, *, seconds: float) -> Place:
        """Reserve a certain place, which somebody has chosen from the list.

        Raises:
            ConflictError: When it was answered, somebody else is looking at it, or a newer model no longer asks.
            NotFoundError: When there is no such place.
        """
        case_id, queue, rank = _parts(place_id)
        with self._journal.index.transaction() as connection:
            _refuse(self.get(place_id), "leased", holder)
            connection.execute(
                "UPDATE places SET holder = ?, until = ? WHERE case_id = ? AND queue = ? AND rank = ?",
                (holder, time.time() + seconds, case_id, queue, rank),
            )
        return self.get(place_id)

    def release(self, place_id: str, holder: str) -> None:
        """Give a place back that one has reserved."""
        case_id, queue, rank = _parts(place_id)
        with self._journal.index.transaction() as connection:
            connection.execute(
                "UPDATE places SET holder = '', until = 0 WHERE case_id = ? AND queue = ? AND rank = ? AND state = 'pending' "
                "AND holder = ?",
                (case_id, queue, rank, holder),
            )

    def answer(self, place_id: str, verdict: str, *, actor: str, details: Mapping[str, Any] | None = None) -> Place:
        """Answer a place; the same answer by the same person again changes nothing.

        Raises:
            InputError: When the verdict is not one of ``accepted``, ``fixed``, ``skipped``.
            ConflictError: When somebody else has answered it or is looking at it, or a newer model no longer asks.
            NotFoundError: When there is no such place.
        """
        if verdict not in _ANSWERED:
            raise InputError(f"An answer is one of {', '.join(_ANSWERED)}. Got {verdict!r}.")
        return self._say(place_id, verdict, actor, details or {})

    def answered_so(self, place_id: str, verdict: str, *, actor: str) -> bool:
        """Tell whether a person has given this very answer already, before the work that a new one needs.

        Raises:
            ConflictError: As :meth:`answer` does.
            NotFoundError: When there is no such place.
        """
        place = self.get(place_id)
        if (place.state, place.holder) == (verdict, actor):
            return True
        _refuse(place, verdict, actor)
        return False

    def reopen(self, place_id: str, *, actor: str) -> Place:
        """Take an answer back; the place is asked about again.

        Raises:
            ConflictError: When it was not answered.
            NotFoundError: When there is no such place.
        """
        return self._say(place_id, "pending", actor, {})

    def get(self, place_id: str) -> Place:
        """Find a place.

        Raises:
            NotFoundError: When there is none of that name.
        """
        case_id, queue, rank = _parts(place_id)
        row = self._journal.index.connection.execute(
            "SELECT * FROM places WHERE case_id = ? AND queue = ? AND rank = ?", (case_id, queue, rank)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"There is no place {place_id!r}. A newer queue may have taken its place: ask for the list.")
        return _of_row(row)

    def all(
        self, case_id: str = "", *, states: Sequence[State] = (), offset: int = 0, limit: int = 100
    ) -> tuple[list[Place], int]:
        """List places, the most worth it first; also says how many there are in all."""
        now = time.time()
        state = "CASE WHEN state = 'pending' AND until >= ? THEN 'leased' ELSE state END"
        wanted = list(states) or list(get_args(State))
        where = f"WHERE (? = '' OR case_id = ?) AND {state} IN ({', '.join('?' * len(wanted))})"
        values = (case_id, case_id, now, *wanted)
        connection = self._journal.index.connection
        total = connection.execute(f"SELECT COUNT(*) FROM places {where}", values).fetchone()[0]  # noqa: S608 (only marks)
        rows = connection.execute(
            f"SELECT * FROM places {where} ORDER BY worth DESC, case_id, queue, rank LIMIT ? OFFSET ?",  # noqa: S608
            (*values, limit, offset),
        )
        return [_of_row(row) for row in rows], int(total)

    def answered(self, case_id: str = "") -> list[Place]:
        """List the places that were answered, of a case or of all, in no order."""
        return self.all(case_id, states=_ANSWERED, limit=-1)[0]

    def count_answers(self) -> dict[str, int]:
        """Count the answered places of each case that has any."""
        rows = self._journal.index.connection.execute(
            "SELECT case_id, COUNT(*) AS answers FROM places WHERE state IN ('accepted', 'fixed', 'skipped') GROUP BY case_id"
        )
        return {str(row["case_id"]): int(row["answers"]) for row in rows}

    def _say(self, place_id: str, state: str, actor: str, details: Mapping[str, Any]) -> Place:
        case_id, queue, rank = _parts(place_id)
        with on_disk(), self._journal.index.transaction() as connection:
            number = self._journal.next_number(connection, case_id)
            place = self.get(place_id)
            if (place.state, place.holder) == (state, actor) and state != "pending":
                return place
            _refuse(place, state, actor)
            body = {"queue": queue, "rank": rank, "verdict": state, "details": dict(details)}
            self._journal.write(connection, Event(case_id, number, "answer", actor, body))
        return self.get(place_id)


def _refuse(place: Place, state: str, actor: str) -> None:
    answered = place.state in _ANSWERED
    if state == "pending" and not answered:
        raise ConflictError(f"{place.id} was not answered: there is nothing to take back.")
    if state != "pending" and answered:
        raise ConflictError(f"{place.id} was answered by {place.holder}: {place.state}. Take that answer back first, or go on.")
    if place.state == "leased" and place.holder != actor:
        raise ConflictError(f"{place.holder} is looking at {place.id}. Ask for the next place.")
    if place.state == "obsolete" and place.holder != actor:  # whoever was at it when the model changed may still answer
        raise ConflictError(f"A newer model no longer asks about {place.id}. Ask for the next place.")


def _parts(place_id: str) -> tuple[str, int, int]:
    case_id, _, numbers = place_id.rpartition(":")
    queue, _, rank = numbers.partition(".")
    if not case_id or not queue.isdecimal() or not rank.isdecimal() or len(numbers) > 18:
        raise NotFoundError(f"There is no place {place_id[:80]!r}. Its name looks like IMAGE:12.3.")
    return case_id, int(queue), int(rank)


def _of_row(row: sqlite3.Row) -> Place:
    state: State = "leased" if row["state"] == "pending" and row["until"] >= time.time() else row["state"]
    free = row["state"] == "pending" and state != "leased"
    return Place(
        f"{row['case_id']}:{row['queue']}.{row['rank']}",
        row["case_id"],
        json.loads(row["region"]),
        state,
        "" if free else row["holder"],
        json.loads(row["answer"]),
    )
