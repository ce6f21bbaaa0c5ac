"""The lineage of one image: each revision of its label with who made it, what they answered and which model proposed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minivess.lineage.models import ModelRecord
from minivess.paths import file_sha256
from minivess.store import Case, LabelStore, QueueItem, Revision


@dataclass(frozen=True)
class Proposal:
    """Regions that a model proposed, and how they were answered.

    Attributes:
        queue: Number of the queue within the case.
        model: Hash of the weights whose prediction it is of.
        regions: How many regions it has.
        answers: (who, verdict) -> how many.
    """

    queue: int
    model: str
    regions: int
    answers: Counter[tuple[str, str]]

    @property
    def answers_in_words(self) -> str:
        """Who gave which answers, and how many; empty without any."""
        return ", ".join(f"{by}: {count} {verdict}" for (by, verdict), count in sorted(self.answers.items()))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        answers = [{"by": by, "verdict": verdict, "count": count} for (by, verdict), count in sorted(self.answers.items())]
        return {"queue": self.queue, "model": self.model, "regions": self.regions, "answers": answers}


@dataclass(frozen=True)
class CaseLineage:
    """Where the labels of an image came from, and what learned from them.

    Attributes:
        case: The image.
        image_sha256: Hash of its file.
        revisions: Its revisions, the oldest first.
        proposals: What models proposed, the oldest first.
        models: Hash -> model, for those that proposed or learned, and those that they were trained from; as far as found.
        learned_by: Hash of a model -> numbers of the revisions that it learned; an empty list where it learned answers alone.
    """

    case: Case
    image_sha256: str
    revisions: tuple[Revision, ...]
    proposals: tuple[Proposal, ...]
    models: dict[str, ModelRecord]
    learned_by: dict[str, list[int]]

    def proposal_before(self, revision: Revision) -> Proposal | None:
        """Return the newest proposal that whoever made a revision may have seen; None for an imported label."""
        before = [proposal for proposal in self.proposals if proposal.queue < revision.number]
        return before[-1] if before and not revision.info.imported else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "image": self.case.id,
            "subject": self.case.subject,
            "image_sha256": self.image_sha256,
            "revisions": [self._revision_json(revision) for revision in self.revisions],
            "proposals": [proposal.to_json() for proposal in self.proposals],
            "learned_by": self.learned_by,
            "models": {sha256: model.to_json() for sha256, model in self.models.items()},
        }

    def _revision_json(self, revision: Revision) -> dict[str, Any]:
        proposal = self.proposal_before(revision)
        return {
            "number": revision.number,
            "tag": revision.tag,
            "state": revision.state,
            "by": revision.actor,
            "time_utc": revision.time_utc,
            "base": revision.base,
            "imported": revision.info.imported,
            "restored_from": revision.info.restored_from,
            "sha256": revision.sha256,
            "proposed_by": proposal.model if proposal else None,
        }


def trace_case(store: LabelStore, image_id: str, models: Mapping[str, ModelRecord]) -> CaseLineage:
    """Return the lineage of an image.

    Args:
        store: The store of its labels.
        image_id: The image.
        models: Models that are looked through, see :func:`minivess.lineage.find_models`.

    Raises:
        NotFoundError: When there is no such image.
    """
    case, revisions = store.images.get(image_id), tuple(store.history(image_id))
    image_sha256 = file_sha256(case.image) if case.image.is_file() else ""
    proposals = tuple(_proposals(store.queue.all(image_id, limit=-1)[0]))
    learned_by = {
        sha256: [revision.number for revision in revisions if revision.sha256 in model.learned]
        for sha256, model in models.items()
        if image_sha256 in model.learned or any(revision.sha256 in model.learned for revision in revisions)
    }
    known = _with_ancestors((*(proposal.model for proposal in proposals), *learned_by), models)
    return CaseLineage(case, image_sha256, revisions, proposals, known, learned_by)


def _with_ancestors(wanted: Iterable[str], models: Mapping[str, ModelRecord]) -> dict[str, ModelRecord]:
    """Return the wanted models and those that they were trained from, as far as they are known."""
    known: dict[str, ModelRecord] = {}
    for sha256 in wanted:
        while sha256 in models and sha256 not in known:
            known[sha256] = models[sha256]
            sha256 = models[sha256].trained_from
    return known


def _proposals(items: Sequence[QueueItem]) -> list[Proposal]:
    queues: dict[int, list[QueueItem]] = {}
    for item in items:
        queues.setdefault(item.queue_number, []).append(item)
    return [
        Proposal(number, queue[0].model, len(queue), Counter((item.holder, item.state) for item in queue if item.answer))
        for number, queue in sorted(queues.items())
    ]
