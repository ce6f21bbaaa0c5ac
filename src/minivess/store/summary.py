"""How far each image of a store is: its queue and its label, by a few queries for all images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minivess.store.journal import Journal
from minivess.store.names import FINAL


@dataclass(frozen=True)
class ImageSummary:
    """How far an image is.

    Attributes:
        image: The image id.
        items: Number of queue items, answered ones included, obsolete ones not.
        answered: Number of answered items.
        expected_errors_left: Expected errors of the open items.
        who: Users who have answered or reserved an item, or submitted the label; sorted.
        revision: Number of its current label; None when there is none.
        skipped: Number of the answered items that somebody else should look at.
        rivals: Number of labels beside the current one that wait for a reviewer's decision.
    """

    image: str
    items: int = 0
    answered: int = 0
    expected_errors_left: float = 0.0
    who: tuple[str, ...] = ()
    revision: int | None = None
    skipped: int = 0
    rivals: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values; over HTTP the number of items is called ``places``."""
        values = asdict(self)
        return {"image": values.pop("image"), "places": values.pop("items"), **values}


def summarise_images(journal: Journal, image_ids: Sequence[str]) -> list[ImageSummary]:
    """Summarise images, in the order given.

    Args:
        journal: The journal of the store.
        image_ids: The images.
    """
    connection = journal.connection
    places = connection.execute(
        "SELECT case_id, COUNT(*) AS items, SUM(state != 'pending') AS answered, SUM(state = 'skipped') AS skipped, "
        "SUM(CASE WHEN state = 'pending' THEN json_extract(region, '$.expected_errors') ELSE 0 END) AS errors_left, "
        "GROUP_CONCAT(DISTINCT CASE WHEN state != 'pending' OR until >= ? THEN holder END) AS who "
        "FROM places WHERE state != 'obsolete' GROUP BY case_id",
        (time.time(),),
    )
    queues = {row["case_id"]: row for row in places}
    heads = connection.execute("SELECT case_id, number, actor FROM revisions WHERE state = 'current' AND tag = ?", (FINAL,))
    labels = {row["case_id"]: row for row in heads}
    waiting = connection.execute(
        "SELECT case_id, COUNT(*) FROM revisions WHERE state = 'rival' AND tag = ? GROUP BY case_id", (FINAL,)
    )
    rivals = dict(map(tuple, waiting))
    found = []
    for image_id in image_ids:
        queue, label = queues.get(image_id), labels.get(image_id)
        who = set(filter(None, (queue["who"] or "").split(","))) if queue else set()
        found.append(
            ImageSummary(
                image_id,
                items=int(queue["items"]) if queue else 0,
                answered=int(queue["answered"]) if queue else 0,
                expected_errors_left=float(queue["errors_left"]) if queue else 0.0,
                who=tuple(sorted(who | ({label["actor"]} if label else set()))),
                revision=int(label["number"]) if label else None,
                skipped=int(queue["skipped"]) if queue else 0,
                rivals=int(rivals.get(image_id, 0)),
            )
        )
    return found
