from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from minivess.errors import InputError
from minivess.train import Case

pytest.importorskip("monailabel")
sys.path.append(str(Path(__file__).resolve().parents[2] / "monailabel_app"))

from train_task import split_by_subject


def cases(*subjects: str) -> list[Case]:
    return [Case(Path(f"{s}_{i}"), Path(s), s) for s in subjects for i in range(2)]


def held_out(found: tuple[list[Case], list[Case]]) -> set[str]:
    training, validation = found
    assert not {c.subject for c in training} & {c.subject for c in validation}
    return {c.subject for c in validation}


def test_few_subjects_are_all_trained_on() -> None:
    assert held_out(split_by_subject(cases("a", "b"), 0.2, {})) == set()
    assert len(held_out(split_by_subject(cases("a", "b", "c"), 0.2, {}))) == 1


def test_who_was_held_out_stays_and_who_was_learned_from_is_never_held_out() -> None:
    notes = {"held_out_subjects": json.dumps(["c"]), "training_subjects": json.dumps(["a", "b"])}
    for more in ((), ("d",), ("d", "e", "f", "g", "h")):
        chosen = held_out(split_by_subject(cases("a", "b", "c", *more), 0.3, notes))
        assert "c" in chosen
        assert not chosen & {"a", "b"}
    everyone = {"training_subjects": json.dumps(["a", "b", "c"])}
    assert held_out(split_by_subject(cases("a", "b", "c"), 0.3, everyone)) == set()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="val_split"):
        split_by_subject(cases("a"), share, {})
