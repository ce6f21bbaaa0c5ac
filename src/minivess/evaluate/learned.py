"""Which subjects a model has learned from: cases of these say nothing of new subjects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from minivess.errors import InputError
from minivess.evaluate.splits import HasSubject, SubjectHistory
from minivess.models import read_metadata, weights_path
from minivess.models.bundle_check import members_of

_NAMED = 10


def history_of(bundle: Path) -> SubjectHistory:
    """Return the subjects of all trainings of a bundle's weights, and of its members' where it is an ensemble."""
    files = (weights_path(place) for place in (bundle, *members_of(bundle)))
    found = [SubjectHistory.from_metadata(read_metadata(file)) for file in files if file.is_file()]
    training = frozenset[str]().union(*(one.training for one in found))
    return SubjectHistory(training, frozenset[str]().union(*(one.held_out for one in found)) - training)


def learned_of(cases: Iterable[HasSubject], history: SubjectHistory) -> list[str]:
    """Return the subjects of cases that a model has learned from, sorted.

    Args:
        cases: The cases.
        history: Subjects of the model's trainings.
    """
    return sorted({case.subject for case in cases} & history.training)


def refuse_learned(cases: Iterable[HasSubject], history: SubjectHistory, *, model: str, advice: str) -> None:
    """Refuse cases of subjects that a model has learned from.

    Args:
        cases: The cases.
        history: Subjects of the model's trainings.
        model: What the model is called in the message.
        advice: What to do instead.

    Raises:
        InputError: When there is one.
    """
    found = learned_of(cases, history)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise InputError(
            f"{model} has learned {', '.join(found[:_NAMED])}{more}: scores on them are not those of new subjects. {advice} "
            "Other subjects that have the same names by chance need others in dataset.json."
        )
