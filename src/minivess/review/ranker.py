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
_TREES, _TREES_TO_COMPARE = 100, 30
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

    What was learned is the mean of two forests: one of this volume's answers alone, one of all volumes'. The first knows this
    volume's own way of going wrong, the second has seen more; which is better changes in the course of a review.

    Args:
        cells: Of the volume to rank.
        answers: What people found so far, here and in other volumes.
        seed: Of the forests.

    Returns:
        (cells,) scores, high where errors are expected; and what they are from: ``"answers"`` or ``"rule"``.
    """
    by_rule = rule(cells)
    if answers is None or not _beats_the_rule(answers, seed):
        return by_rule, "rule"
    everything = np.ones(len(answers.volume), bool)
    learned = _predicted(answers, everything, cells.features, _TREES, seed)
    return learned + 1e-6 * by_rule, "answers"  # a forest says the same of many cells: the rule orders those


def _beats_the_rule(answers: Answers, seed: int) -> bool:
    """Compare the rule with what can be learned, on answers that are left out of the learning."""
    own = answers.volume == 0
    if _enough_own(answers, own):
        judged, group = own, answers.place
    elif np.unique(answers.volume[~own]).size >= ENOUGH_VOLUMES:
        judged, group = np.ones(len(own), bool), answers.volume
    else:
        return False
    if not answers.errors[judged].any():
        return False
    learned = np.zeros(len(own))
    for held_out in _folds(group, judged):
        learned[held_out] = _predicted(answers, ~held_out, answers.features[held_out], _TREES_TO_COMPARE, seed)
    errors = answers.errors[judged]
    return _area(learned[judged], errors) > _area(answers.features[judged, 0], errors)


def _predicted(
    answers: Answers, used: NDArray[np.bool_], features: NDArray[np.float32], trees: int, seed: int
) -> NDArray[np.float64]:
    """Ask a forest of all answers, and where there are enough of them one of this volume's alone."""
    own = answers.volume == 0
    taught = [used]
    if _enough_own(answers, own) and not own.all() and (used & own).any():
        taught.append(used & own)
    return np.mean([_fitted(answers, rows, trees, seed).predict(features) for rows in taught], axis=0)


def _enough_own(answers: Answers, own: NDArray[np.bool_]) -> bool:
    return np.unique(answers.place[own]).size >= ENOUGH_ANSWERS


def _folds(group: NDArray[np.int64], judged: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    at = np.flatnonzero(judged)
    count = min(_FOLDS, np.unique(group[at]).size)
    for _, test in GroupKFold(count).split(at, groups=group[at]):
        held_out = np.zeros(len(judged), bool)
        held_out[at[test]] = True
        yield held_out


def _fitted(answers: Answers, used: NDArray[np.bool_], trees: int, seed: int) -> Any:
    forest = ExtraTreesRegressor(trees, min_samples_leaf=3, max_features=0.4, random_state=seed)
    weight = np.where(answers.volume[used] == 0, _OWN_WEIGHT, 1.0)
    return forest.fit(answers.features[used], answers.errors[used], sample_weight=weight)


def _area(score: NDArray[Any], errors: NDArray[np.float64]) -> float:
    """Average, over a review in the order of the score, the share of errors found so far."""
    found = errors[np.argsort(-score, kind="stable")].cumsum()
    return float(found.mean() / found[-1])
