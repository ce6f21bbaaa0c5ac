"""Split cases into training and held-out cases, by subject."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, TypeVar

from minivess.errors import InputError

#: Fewer subjects are all used for training.
MIN_SUBJECTS = 3


class HasSubject(Protocol):
    """A case that belongs to a subject."""

    @property
    def subject(self) -> str:
        """Animal or patient."""
        ...


CaseType = TypeVar("CaseType", bound=HasSubject)


@dataclass(frozen=True)
class SubjectHistory:
    """Which subjects earlier trainings of a model have used.

    Attributes:
        training: Subjects that it was trained on.
        held_out: Subjects that were held out.
    """

    training: frozenset[str] = frozenset()
    held_out: frozenset[str] = frozenset()

    @staticmethod
    def from_metadata(metadata: Mapping[str, str]) -> SubjectHistory:
        """Read the metadata of a weights file, see :func:`subjects_metadata`."""
        training, held_out = (json.loads(metadata.get(key, "[]")) for key in ("training_subjects", "held_out_subjects"))
        return SubjectHistory(frozenset(training), frozenset(held_out))


def subjects_metadata(
    training: Sequence[HasSubject], held_out: Sequence[HasSubject], before: SubjectHistory | None = None
) -> dict[str, str]:
    """Return the subjects of a training as metadata for its weights file.

    Args:
        training: Cases that the model is trained on.
        held_out: Cases that are held out.
        before: Subjects of the weights that the training begins with: what they have learned is learned.
    """
    before = before or SubjectHistory()
    learned = {case.subject for case in training} | before.training
    sections = {"training_subjects": learned, "held_out_subjects": {case.subject for case in held_out} - learned}
    return {key: json.dumps(sorted(subjects)) for key, subjects in sections.items()}


def split_by_subject(
    cases: Sequence[CaseType], share: float, history: SubjectHistory | None = None
) -> tuple[list[CaseType], list[CaseType]]:
    """Hold out about a share of the subjects; none when there are fewer than three.

    A subject that was held out before stays held out as long as others are there to train on, and one that was trained on is
    never held out later: otherwise the old and the new model would be compared on cases that one of them has seen.

    Args:
        cases: All labelled cases.
        share: Share of subjects to hold out, in [0, 1).
        history: Subjects of earlier trainings.

    Returns:
        Training cases and held-out cases.

    Raises:
        InputError: When the share is not in [0, 1).

    Example:
        >>> from collections import namedtuple
        >>> Case = namedtuple("Case", "subject")
        >>> training, held_out = split_by_subject([Case("m1"), Case("m1"), Case("m2"), Case("m3")], 0.3)
        >>> len(training) + len(held_out), {case.subject for case in training} & {case.subject for case in held_out}
        (4, set())
    """
    if not 0.0 <= share < 1.0:
        raise InputError(f"val_split is a share of the subjects, from 0 up to but not including 1. Got {share}.")
    history = history or SubjectHistory()
    subjects = sorted({case.subject for case in cases}, key=lambda subject: sha256(subject.encode()).hexdigest())
    wanted = max(1, round(share * len(subjects))) if share > 0 and len(subjects) >= MIN_SUBJECTS else 0
    before = [subject for subject in subjects if subject in history.held_out]
    unseen = [subject for subject in subjects if subject not in history.held_out | history.training]
    stays = len(before) if wanted and len(before) < len(subjects) else 0
    held_out = set([*before, *unseen][: max(wanted, stays)])
    return [c for c in cases if c.subject not in held_out], [c for c in cases if c.subject in held_out]
