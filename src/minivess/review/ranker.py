"""How many errors to expect in a cell: a rule that needs no answers, and a forest that learns from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold

from minivess.review.cells import Cells

#: So many places of a volume must have been answered before anything is learned from them,
ENOUGH_ANSWERS = 50
#: or so many other volumes.
ENOUGH_VOLUMES = 3
#: An answer of the same volume counts as much as so many of other volumes.
_OWN_WEIGHT = 10.0
_FOLDS = 5
#: About the median size of a significant error on two-photon stacks; it only turns volumes into numbers of errors.
USUAL_ERROR_UM3 = 1000.0


@dataclass(frozen=True, eq=False)
class Answers:
    """What people found in cells that they looked at.

    Attributes:
        features: (cells, features), as in :class:`minivess.review.cells.Cells`.
        errors: (cells,) errors found there; an error that reaches over several cells counts in each by its share.
        place: (cells,) which answer each cell belongs to.
        volume: (cells,) which volume it lies in; 0 is the one to rank.
    """

    features: NDArray[np.float32]
    errors: NDArray[np.float64]
    place: NDArray[np.int64]
    volume: NDArray[np.int64]

    @staticmethod
    def joined(own: Answers | None, others: Sequence[Answers]) -> Answers:
        """Put the answers of the volume to rank and of others together."""
        parts = [(0, own)] if own is not None else []
        parts += list(enumerate(others, start=1))
        places, first = [], 0
        for _, part in parts:
            names, place = np.unique(part.place, return_inverse=True)
            places.append(place + first)
            first += len(names)
        return Answers(
            np.concatenate([p.features for _, p in parts]),
            np.concatenate([p.errors for _, p in parts]),
            np.concatenate(places),
            np.concatenate([np.full(len(p.errors), number) for number, p in parts]),
        )


def rule(cells: Cells) -> NDArray[np.float64]:
    """Score cells without any answer: their volume that is expected to be significantly wrong, in errors of usual size."""
    share = cells.column("mean suspicion").astype(np.float64)
    return share * cells.voxels * (cells.voxel_um3 / USUAL_ERROR_UM3)


def rank(cells: Cells, answers: Answers | None = None, *, seed: int = 0) -> tuple[NDArray[np.float64], str]:
    """Score cells by the errors to expect in them: by what was learned, where that beats the rule on answers left out.

    Args:
        cells: Of the volume to rank.
        answers: What people found so far, here and in other volumes.
        seed: Of the forest.

    Returns:
        (cells,) scores, high where errors are expected; and whose answers they were learned from: ``"this volume"``,
        ``"all volumes"``, or none: ``"rule"``.
    """
    by_rule = rule(cells)
    if answers is None:
        return by_rule, "rule"
    teacher = _best_teacher(answers, seed)
    if teacher == "rule":
        return by_rule, teacher
    learned = _fitted(answers, _taught_by(teacher, answers), seed).predict(cells.features)
    return learned + 1e-6 * by_rule, teacher  # a forest says the same of many cells: the rule orders those


def _taught_by(teacher: str, answers: Answers) -> NDArray[np.bool_]:
    return answers.volume == 0 if teacher == "this volume" else np.ones(len(answers.volume), bool)


def _best_teacher(answers: Answers, seed: int) -> str:
    """Compare the rule with what can be learned, on answers that were left out of the learning."""
    own = answers.volume == 0
    if np.unique(answers.place[own]).size >= ENOUGH_ANSWERS:
        judged, group, teachers = own, answers.place, ["this volume"] if own.all() else ["this volume", "all volumes"]
    elif np.unique(answers.volume[~own]).size >= ENOUGH_VOLUMES:
        judged, group, teachers = np.ones(len(own), bool), answers.volume, ["all volumes"]
    else:
        return "rule"
    if not answers.errors[judged].any():
        return "rule"
    areas = {"rule": _area(answers.features[judged, 0], answers.errors[judged])}
    for teacher in teachers:
        predicted = np.zeros(len(own))
        for held_out in _folds(group, judged):
            used = _taught_by(teacher, answers) & ~held_out
            predicted[held_out] = _fitted(answers, used, seed).predict(answers.features[held_out])
        areas[teacher] = _area(predicted[judged], answers.errors[judged])
    return max(areas, key=lambda name: areas[name])


def _folds(group: NDArray[np.int64], judged: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    at = np.flatnonzero(judged)
    count = min(_FOLDS, np.unique(group[at]).size)
    for _, test in GroupKFold(count).split(at, groups=group[at]):
        held_out = np.zeros(len(judged), bool)
        held_out[at[test]] = True
        yield held_out


def _fitted(answers: Answers, used: NDArray[np.bool_], seed: int) -> Any:
    forest = ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.4, random_state=seed)
    weight = np.where(answers.volume[used] == 0, _OWN_WEIGHT, 1.0)
    return forest.fit(answers.features[used], answers.errors[used], sample_weight=weight)


def _area(score: NDArray[Any], errors: NDArray[np.float64]) -> float:
    """Average, over a review in the order of the score, the share of errors found so far."""
    found = errors[np.argsort(-score, kind="stable")].cumsum()
    return float(found.mean() / found[-1])
