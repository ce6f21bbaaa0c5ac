"""A queue item: a region in the review queue with its state, its holder and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from minivess.store.region import Region

#: ``accepted``: the mask is right. ``fixed``: it was corrected. ``skipped``: another annotator should look.
Verdict = Literal["accepted", "fixed", "skipped"]
#: ``leased``: pending, and reserved for an annotator. ``obsolete``: replaced by the queue of a newer model.
QueueState = Literal["pending", "leased", "accepted", "fixed", "skipped", "obsolete"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Answer:
    """A verdict of an annotator on a queue item.

    Attributes:
        number: Number of its event in the history of the image; later answers have higher numbers.
        mask: Accepted voxels of the region's box, see :func:`minivess.review.mask_codec.pack_mask`; empty when skipped.
        seconds: How long the annotator needed; None when not measured.
        note: What the annotator wrote about it.
        sent: Hash of the voxels that the annotator sent for a corrected region.
        skipped_by: Names of all users who have skipped it.
    """

    number: int
    mask: str = ""
    seconds: float | None = None
    note: str = ""
    sent: str = ""
    skipped_by: tuple[str, ...] = ()

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Answer | None:
        """Read the values of :meth:`to_json`; None where there is no answer."""
        if not values.get("number"):
            return None
        seconds = values.get("seconds")
        mask, note, sent = (str(values.get(name, "")) for name in ("mask", "note", "sent"))
        skipped_by = tuple(str(name) for name in values.get("skipped_by", ()))
        return Answer(int(values["number"]), mask, None if seconds is None else float(seconds), note, sent, skipped_by)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain values."""
        optional = {"mask": self.mask or None, "seconds": self.seconds, "note": self.note or None, "sent": self.sent or None}
        return {"number": self.number, **{name: value for name, value in optional.items() if value is not None}}


@dataclass(frozen=True)
class QueueItem:
    """A region in the review queue.

    Attributes:
        id: ``IMAGE:QUEUE.RANK``.
        image_id: Image that the region is part of.
        region: The region.
        model: SHA-256 of the weights whose prediction it was proposed from; empty when unknown.
        state: See :data:`QueueState`.
        holder: Name of the user who has reserved or answered it; empty when pending.
        answer: The answer; None until there is one.
        skipped_note: What somebody wrote who has skipped it before, for who looks at it now.
    """

    id: str
    image_id: str
    region: Region
    model: str
    state: QueueState
    holder: str
    answer: Answer | None
    skipped_note: str = ""

    @property
    def queue(self) -> str:
        """``IMAGE:QUEUE``, the same for all items that were proposed together."""
        return self.id.rpartition(".")[0]

    @property
    def queue_number(self) -> int:
        """Number of the event, in the history of the image, that proposed this item."""
        return int(self.queue.rpartition(":")[2])

    def to_json(self) -> dict[str, Any]:
        """Return the item as plain values."""
        return {
            **self.region.to_json(),
            "model": self.model,
            "id": self.id,
            "case": self.image_id,
            "state": self.state,
            "by": self.holder,
            "answer": self.answer.to_json() if self.answer else {},
            **({"skipped_note": self.skipped_note} if self.skipped_note else {}),
        }
