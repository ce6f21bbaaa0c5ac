"""The review queue: regions proposed by a model, reserved for one annotator at a time, answered. Every answer is an event."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args

from minivess.errors import ConflictError, InputError, NotFoundError, OutdatedError
from minivess.store.events import Event
from minivess.store.journal import Journal
from minivess.store.queue_item import VERDICTS, Answer, QueueItem, QueueState
from minivess.store.region import Region
from minivess.store.transaction import Transaction
from minivess.volume import Box


class ReviewQueue:
    """The queue items of all images of a store. Reservations are in the index only; proposals and answers are events."""

    def __init__(self, journal: Journal) -> None:
        """Use the journal of a store."""
        self._journal = journal

    def propose(
        self,
        image_id: str,
        regions: Sequence[Region],
        *,
        model: str,
        actor: str,
        about: Mapping[str, Any] | None = None,
        considered: Collection[str] | None = None,
    ) -> int:
        """Add a new queue for an image; pending items of older queues become obsolete, but those that somebody looks at now.

        Finding regions takes seconds, in which others are reserved and answered: what lies mostly in one of them is left out.

        Args:
            image_id: The image.
            regions: Regions, the one with most expected errors first.
            model: SHA-256 of the weights whose prediction they were proposed from.
            actor: Who requested the queue.
            about: More facts to record with it, for example how the regions were ranked.
            considered: Ids of the reserved and answered items that the regions keep away from already; None: of all of them.

        Returns:
            Number of the queue.

        Raises:
            NotFoundError: When there is no such image.
            StoreError: When the queue cannot be written; nothing was changed.
        """
        with self._journal.transaction() as transaction:
            connection = transaction.connection
            if connection.execute("SELECT 1 FROM cases WHERE id = ? AND removed = 0", (image_id,)).fetchone() is None:
                raise NotFoundError(f"There is no image {image_id!r}.")
            kept = [item for item in self.all(image_id, states=("leased",), limit=-1)[0] if item.model == model]
            found = [] if considered is None else [i for i in (*kept, *self.answered(image_id)) if i.id not in considered]
            taken = [item.region.box for item in found if item.state != "skipped" or item.model == model]
            rows = [{**region.to_json(), "model": model} for region in regions if not _lies_in(region.box, taken)]
            body = {
                "about": {"model": model, **(about or {})},
                "regions": rows,
                "places": len(rows),
                "kept": [_parse_id(item.id)[1:] for item in kept],
            }
            event = Event(image_id, transaction.next_number(image_id), "queue", actor, body)
            transaction.write(event)
            return event.number

    def next(self, holder: str, *, seconds: float, image_id: str = "") -> QueueItem | None:
        """Reserve the pending item with most expected errors; none that the holder has skipped.

        An item that the holder has already reserved is returned first, so that a lost reply has no effect.

        Args:
            holder: For whom.
            seconds: How long the reservation lasts.
            image_id: Only items of this image; empty for all images.

        Returns:
            The item; None when none is left.
        """
        now = time.time()
        with self._journal.transaction() as transaction:
            row = transaction.connection.execute(
                "SELECT * FROM places WHERE state = 'pending' AND (? = '' OR case_id = ?) AND (until < ? OR holder = ?) "
                "AND case_id IN (SELECT id FROM cases WHERE removed = 0) "
                "AND NOT EXISTS (SELECT 1 FROM json_each(answer, '$.skipped_by') WHERE value = ?) "
                "ORDER BY (until >= ? AND holder = ?) DESC, worth DESC, case_id, queue, rank LIMIT 1",
                (image_id, image_id, now, holder, holder, now, holder),
            ).fetchone()
            if row is None:
                return None
            item_id = f"{row['case_id']}:{row['queue']}.{row['rank']}"
            _reserve(transaction, item_id, holder, seconds)
        return self.get(item_id)

    def retire(self, item_id: str) -> None:
        """Make a pending item obsolete: its model is not the newest one of its image, so that nobody may accept it.

        Args:
            item_id: The item; an answered one stays as it is.
        """
        with self._journal.transaction() as transaction:
            transaction.connection.execute(
                "UPDATE places SET state = 'obsolete' WHERE case_id = ? AND queue = ? AND rank = ? AND state = 'pending'",
                _parse_id(item_id),
            )

    def take(self, item_id: str, holder: str, *, seconds: float) -> QueueItem:
        """Reserve a certain item, which the annotator has chosen from the list.

        Args:
            item_id: The item.
            holder: For whom.
            seconds: How long the reservation lasts.

        Raises:
            ConflictError: When it was answered, is reserved for another user, or is obsolete.
            NotFoundError: When there is no such item.
        """
        with self._journal.transaction() as transaction:
            _check_transition(self.get(item_id), "leased", holder)
            _reserve(transaction, item_id, holder, seconds)
        return self.get(item_id)

    def release(self, item_id: str, holder: str) -> None:
        """End the reservation of an item; no effect when ``holder`` has not reserved it.

        Args:
            item_id: The item.
            holder: Who has reserved it.
        """
        image_id, queue, rank = _parse_id(item_id)
        with self._journal.transaction() as transaction:
            transaction.connection.execute(
                "UPDATE places SET holder = '', until = 0 WHERE case_id = ? AND queue = ? AND rank = ? AND state = 'pending' "
                "AND holder = ?",
                (image_id, queue, rank, holder),
            )

    def answer(
        self,
        item_id: str,
        verdict: str,
        *,
        actor: str,
        mask: str = "",
        seconds: float | None = None,
        note: str = "",
        sent: str = "",
        last_event: int | None = None,
    ) -> QueueItem:
        """Record an answer; the same answer of the same user once more changes nothing.

        Args:
            item_id: The item.
            verdict: One of :data:`VERDICTS`.
            actor: Who answers.
            mask: Accepted voxels of the region's box, packed.
            seconds: How long it took.
            note: What the annotator writes about it.
            sent: Hash of the voxels that the annotator sent, by which a repeated request is known.
            last_event: Number of :meth:`last_event` when the image was read; None for any.

        Raises:
            InputError: When the verdict is unknown.
            OutdatedError: When the image has another answer, queue or label since.
            ConflictError: When the item was answered by or is reserved for another user, or is obsolete.
            NotFoundError: When there is no such item.
        """
        if verdict not in VERDICTS:
            raise InputError(f"A verdict is one of {', '.join(VERDICTS)}. Got {verdict!r}.")
        known: dict[str, Any] = {
            "seconds": None if seconds is None else round(seconds, 1),
            "mask": mask,
            "note": note,
            "sent": sent,
        }
        details = {name: value for name, value in known.items() if value not in (None, "")}
        return self._record(item_id, verdict, actor, details, last_event=last_event)

    def last_event(self, image_id: str) -> int:
        """Return the number of the last event of an image: an answer, a queue, a label."""
        row = self._journal.connection.execute("SELECT last FROM cases WHERE id = ?", (image_id,)).fetchone()
        return int(row["last"]) if row else 0

    def is_answered_as(self, item_id: str, verdict: str, *, actor: str, sent: str = "") -> bool:
        """Return whether a user has already given this very answer: a repeated request.

        Args:
            item_id: The item.
            verdict: The verdict of the request.
            actor: Who asks.
            sent: Hash of the voxels of the request; empty where it has none.

        Raises:
            ConflictError: As :meth:`answer`.
            NotFoundError: When there is no such item.
        """
        item = self.get(item_id)
        if _is_repeated(item, verdict, actor, sent):
            return True
        _check_transition(item, verdict, actor)
        return False

    def reopen(self, item_id: str, *, actor: str, reserve_s: float = 0.0, model: str = "") -> QueueItem:
        """Withdraw an answer; the item becomes pending again.

        Args:
            item_id: The item.
            actor: Who withdraws it.
            reserve_s: How long it is reserved for them, so that a newer queue does not replace it; 0 for not at all.
            model: SHA-256 of the weights whose prediction is shown in it from now on; empty for the one before.

        Raises:
            ConflictError: When it was not answered.
            NotFoundError: When there is no such item.
        """
        return self._record(item_id, "pending", actor, {"model": model} if model else {}, reserve_s=reserve_s)

    def get(self, item_id: str) -> QueueItem:
        """Return an item.

        Raises:
            NotFoundError: When there is no such item.
        """
        image_id, queue, rank = _parse_id(item_id)
        row = self._journal.connection.execute(
            "SELECT * FROM places WHERE case_id = ? AND queue = ? AND rank = ?", (image_id, queue, rank)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"There is no queue item {item_id!r}. A newer queue may have replaced it: read the list again.")
        return _from_row(row)

    def all(
        self,
        image_id: str = "",
        *,
        states: Sequence[QueueState] = (),
        offset: int = 0,
        limit: int = 100,
        among: Sequence[str] | None = None,
    ) -> tuple[list[QueueItem], int]:
        """List items, most expected errors first.

        Args:
            image_id: Only items of this image; empty for all images.
            states: Only items in these states; empty for all states.
            offset: How many to skip.
            limit: How many to return at most; -1 for all.
            among: Only items of these images; None for all.

        Returns:
            The items, and their number without ``offset`` and ``limit``.
        """
        now = time.time()
        state = "CASE WHEN state = 'pending' AND until >= ? THEN 'leased' ELSE state END"
        wanted = list(states) or list(get_args(QueueState))
        there = "case_id IN (SELECT id FROM cases WHERE removed = 0) AND (? OR case_id IN (SELECT value FROM json_each(?)))"
        where = f"WHERE (? = '' OR case_id = ?) AND {there} AND {state} IN ({', '.join('?' * len(wanted))})"
        values = (image_id, image_id, among is None, json.dumps(among or []), now, *wanted)
        connection = self._journal.connection
        total = connection.execute(f"SELECT COUNT(*) FROM places {where}", values).fetchone()[0]  # noqa: S608 (only placeholders)
        rows = connection.execute(
            f"SELECT * FROM places {where} ORDER BY worth DESC, case_id, queue, rank LIMIT ? OFFSET ?",  # noqa: S608
            (*values, limit, offset),
        )
        return [_from_row(row) for row in rows], int(total)

    def answered(self, image_id: str = "") -> list[QueueItem]:
        """List the answered items of an image, or of all images; the oldest answer first."""
        items = self.all(image_id, states=VERDICTS, limit=-1)[0]
        return sorted(items, key=lambda item: item.answer.number if item.answer else 0)

    def count_answers(self) -> dict[str, int]:
        """Return image id -> number of answered items, for images that have any."""
        rows = self._journal.connection.execute(
            "SELECT case_id, COUNT(*) AS answers FROM places WHERE state IN ('accepted', 'fixed', 'skipped') GROUP BY case_id"
        )
        return {str(row["case_id"]): int(row["answers"]) for row in rows}

    def _skips(self, item_id: str) -> dict[str, Any]:
        """Return who has skipped an item so far, and the last note on it."""
        row = self._journal.connection.execute(
            "SELECT state, holder, answer FROM places WHERE case_id = ? AND queue = ? AND rank = ?", _parse_id(item_id)
        ).fetchone()
        known = json.loads(row["answer"]) if row else {}
        last = {row["holder"]} if row and row["state"] == "skipped" else set()
        return {"skipped_by": {*known.get("skipped_by", ()), *last}, "note": str(known.get("note", ""))}

    def _record(
        self,
        item_id: str,
        state: str,
        actor: str,
        details: Mapping[str, Any],
        *,
        reserve_s: float = 0.0,
        last_event: int | None = None,
    ) -> QueueItem:
        image_id, queue, rank = _parse_id(item_id)
        with self._journal.transaction() as transaction:
            item = self.get(item_id)
            if state != "pending" and _is_repeated(item, state, actor, details.get("sent", "")):
                return item
            _check_transition(item, state, actor)
            if last_event not in (None, self.last_event(image_id)):
                raise OutdatedError(f"{image_id} has changed since it was read.")
            skipped = self._skips(item_id)
            skipped_by = set(skipped["skipped_by"]) - {actor} | ({actor} if state == "skipped" else set())
            known = {**({"note": skipped["note"]} if state == "pending" and skipped_by and skipped["note"] else {}), **details}
            known |= {"skipped_by": sorted(skipped_by)} if skipped_by else {}
            body = {"queue": queue, "rank": rank, "verdict": state, "details": known}
            transaction.write(Event(image_id, transaction.next_number(image_id), "answer", actor, body))
            if reserve_s:
                _reserve(transaction, item_id, actor, reserve_s)
            return self.get(item_id)  # within the transaction: what is read after it may fail, and then nothing was acknowledged


def _lies_in(box: Box, others: Iterable[Box]) -> bool:
    """Return whether more than half of a box lies in one of others."""
    shared = (found.shape for other in others if (found := box.intersect(other)))
    return any(2 * math.prod(shape) > math.prod(box.shape) for shape in shared)


def _reserve(transaction: Transaction, item_id: str, holder: str, seconds: float) -> None:
    transaction.connection.execute(
        "UPDATE places SET holder = ?, until = ? WHERE case_id = ? AND queue = ? AND rank = ?",
        (holder, time.time() + seconds, *_parse_id(item_id)),
    )


def _is_repeated(item: QueueItem, state: str, actor: str, sent: str) -> bool:
    """Return whether an item has this very answer; other voxels of the same user are another answer."""
    if (item.state, item.holder) != (state, actor):
        return False
    return not (sent and item.answer and item.answer.sent) or sent == item.answer.sent


def _check_transition(item: QueueItem, state: str, actor: str) -> None:
    answered = item.state in VERDICTS
    if state == "pending" and not answered:
        raise ConflictError(f"{item.id} has no answer that could be withdrawn.")
    if state != "pending" and answered:
        raise ConflictError(
            f"{item.id} was answered by {item.holder}: {item.state}. Withdraw that answer first, or ask for the next item."
        )
    if item.state == "leased" and item.holder != actor:
        raise ConflictError(f"{item.id} is reserved for {item.holder}. Ask for the next item.")
    if item.state == "obsolete" and item.holder != actor:  # whoever had reserved it when the model changed may still answer
        raise ConflictError(
            f"{item.id} is obsolete: the regions were ranked again, or a newer model has another queue. Ask for the next item."
        )


def _parse_id(item_id: str) -> tuple[str, int, int]:
    image_id, _, numbers = item_id.rpartition(":")
    queue, _, rank = numbers.partition(".")
    if not image_id or not queue.isdecimal() or not rank.isdecimal() or len(numbers) > 18:
        raise NotFoundError(f"There is no queue item {item_id[:80]!r}. An id looks like IMAGE:12.3.")
    return image_id, int(queue), int(rank)


def _from_row(row: sqlite3.Row) -> QueueItem:
    state: QueueState = "leased" if row["state"] == "pending" and row["until"] >= time.time() else row["state"]
    content, answer = json.loads(row["region"]), json.loads(row["answer"])
    return QueueItem(
        id=f"{row['case_id']}:{row['queue']}.{row['rank']}",
        image_id=row["case_id"],
        region=Region.from_json(content),
        model=str(content.get("model", "")),
        state=state,
        holder="" if state == "pending" else row["holder"],
        answer=Answer.from_json(answer) if row["state"] in VERDICTS else None,
        skipped_note="" if row["state"] in VERDICTS else str(answer.get("note", "")),
    )
