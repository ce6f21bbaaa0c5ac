from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from minivess.errors import InputError
from minivess.evaluate import SubjectHistory, split_by_subject, subjects_metadata


@dataclass(frozen=True)
class Case:
    subject: str


def cases(*subjects: str) -> list[Case]:
    return [Case(subject) for subject in subjects for _ in range(2)]


def held_out(split: tuple[list[Case], list[Case]]) -> set[str]:
    training, validation = split
    assert not {c.subject for c in training} & {c.subject for c in validation}
    return {c.subject for c in validation}


def test_split_by_subject__few_subjects_are_all_trained_on() -> None:
    assert held_out(split_by_subject(cases("a", "b"), 0.2)) == set()
    assert len(held_out(split_by_subject(cases("a", "b", "c"), 0.2))) == 1


def test_split_by_subject__held_out_stays_held_out_and_trained_on_is_never_held_out() -> None:
    history = SubjectHistory.from_metadata(subjects_metadata(cases("a", "b"), cases("c")))
    for more in ((), ("d",), ("d", "e", "f", "g", "h")):
        chosen = held_out(split_by_subject(cases("a", "b", "c", *more), 0.3, history))
        assert "c" in chosen
        assert not chosen & {"a", "b"}
    everyone = SubjectHistory(training=frozenset({"a", "b", "c"}))
    assert held_out(split_by_subject(cases("a", "b", "c"), 0.3, everyone)) == set()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_split_by_subject__a_wrong_share_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="val_split"):
        split_by_subject(cases("a"), share)


def test_a_training_that_begins_with_weights_has_learned_what_they_had() -> None:
    before = SubjectHistory(frozenset({"m1", "m2"}), frozenset({"m9"}))
    found = subjects_metadata(cases("m3"), cases("m2", "m4"), before)
    assert json.loads(found["training_subjects"]) == ["m1", "m2", "m3"]
    assert json.loads(found["held_out_subjects"]) == ["m4"]


def test_split_by_subject__what_was_held_out_is_never_trained_on_while_others_are_there() -> None:
    history = SubjectHistory(held_out=frozenset({"a", "b", "c"}))
    assert held_out(split_by_subject(cases(*"abcdefghij"), 0.2, history)) == {"a", "b", "c"}
    assert held_out(split_by_subject(cases(*"abcd"), 0.2, history)) == {"a", "b", "c"}
    training, _ = split_by_subject(cases(*"abc"), 0.2, history)  # there are no others: the user wants a training
    assert len({case.subject for case in training}) == 2
