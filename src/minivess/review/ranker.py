"""Score blocks by their expected number of errors: a rule that needs no answers, and a forest that is trained on answers.

The samples of the answers come from :mod:`minivess.review.ranker_samples`; :mod:`minivess.review.proposal` places regions where
the scores are highest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minivess.review.blocks import BlockFeatures

#: How blocks were scored.
Ranking = Literal["rule", "answers"]
#: So many answers in a volume are needed before the forest is tried,
MIN_ANSWERS = 50
#: or answers in so many other volumes.
MIN_VOLUMES = 3
#: Sample weight of an answer in the same volume; 1 in other volumes.
_OWN_WEIGHT = 10.0
_FOLDS = 5
_TREES, _TREES_TO_COMPARE = 100, 30
#: About the median size of a significant error on two-photon stacks; converts a volume to a number of errors.
MEDIAN_ERROR_UM3 = 1000.0


@dataclass(frozen=True, eq=False)
class BlockSamples:
    """Training samples of the ranker: blocks of answered regions with the errors that annotators found there.

    Attributes:
        features: (samples, features) float32, see :class:`minivess.review.blocks.BlockFeatures`.
        errors: (samples,) float64, errors found; an error in several blocks counts in each by its share.
        answer_index: (samples,) int64, the answer that each sample belongs to.
        volume_index: (samples,) int64, its volume; 0 is the volume to rank.
    """

    features: NDArray[np.float32]
    errors: NDArray[np.float64]
    answer_index: NDArray[np.int64]
    volume_index: NDArray[np.int64]

    @staticmethod
    def concatenate(own: BlockSamples | None, others: Sequence[BlockSamples]) -> BlockSamples:
        """Join the samples of several volumes.

        Args:
            own: Samples of the volume to rank.
            others: Samples of each other volume.
        """
        parts = [(0, own)] if own is not None else []
        parts += list(enumerate(others, start=1))
        answers, first = [], 0
        for _, part in parts:
            unique, index = np.unique(part.answer_index, return_inverse=True)
            answers.append(index + first)
            first += len(unique)
        return BlockSamples(
            np.concatenate([part.features for _, part in parts]),
            np.concatenate([part.errors for _, part in parts]),
            np.concatenate(answers),
            np.concatenate([np.full(len(part.errors), number) for number, part in parts]),
        )


def score_by_rule(blocks: BlockFeatures) -> NDArray[np.float64]:
    """Score blocks without answers: the volume expected to be significantly wrong, in errors of median size; (blocks,)."""
    share = blocks.column("mean error probability").astype(np.float64)
    return share * blocks.voxels * (blocks.voxel_um3 / MEDIAN_ERROR_UM3)


def score_blocks(
    blocks: BlockFeatures, samples: BlockSamples | None = None, *, seed: int = 0
) -> tuple[NDArray[np.float64], Ranking]:
    """Score blocks by their expected errors: by the forest where it ranks better than the rule in cross-validation.

    The forest's score is the mean of two forests: one trained on the answers of this volume, one on those of all volumes. The
    first knows the errors that are typical for this volume, the second has more samples; which is better changes during a review.

    Args:
        blocks: Blocks of the volume to rank.
        samples: Training samples from answers in this volume and in others.
        seed: Seed of the forests.

    Returns:
        (blocks,) float64 scores, high where errors are expected; and how they were computed.
    """
    by_rule = score_by_rule(blocks)
    if samples is None or not _beats_rule(samples, seed):
        return by_rule, "rule"
    everything = np.ones(len(samples.volume_index), bool)
    learned = _predict(samples, everything, blocks.features, _TREES, seed)
    return learned + 1e-6 * by_rule, "answers"  # a forest gives many blocks the same score: the rule orders those


def _beats_rule(samples: BlockSamples, seed: int) -> bool:
    """Compare forest and rule on answers that are held out of the training."""
    own = samples.volume_index == 0
    if _has_enough_own(samples, own):
        judged, group = own, samples.answer_index
    elif np.unique(samples.volume_index[~own]).size >= MIN_VOLUMES:
        judged, group = np.ones(len(own), bool), samples.volume_index
    else:
        return False
    if not samples.errors[judged].any():
        return False
    learned = np.zeros(len(own))
    for held_out in _folds(group, judged):
        learned[held_out] = _predict(samples, ~held_out, samples.features[held_out], _TREES_TO_COMPARE, seed)
    errors = samples.errors[judged]
    return _area(learned[judged], errors) > _area(samples.features[judged, 0], errors)


def _predict(
    samples: BlockSamples, used: NDArray[np.bool_], features: NDArray[np.float32], trees: int, seed: int
) -> NDArray[np.float64]:
    own = samples.volume_index == 0
    subsets = [used]
    if _has_enough_own(samples, own) and not own.all() and (used & own).any():
        subsets.append(used & own)
    return np.mean([_fit(samples, subset, trees, seed).predict(features) for subset in subsets], axis=0)


def _has_enough_own(samples: BlockSamples, own: NDArray[np.bool_]) -> bool:
    return np.unique(samples.answer_index[own]).size >= MIN_ANSWERS


def _folds(group: NDArray[np.int64], judged: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    from sklearn.model_selection import GroupKFold  # a second of import, which only reviews with answers need

    rows = np.flatnonzero(judged)
    count = min(_FOLDS, np.unique(group[rows]).size)
    for _, test in GroupKFold(count).split(rows, groups=group[rows]):
        held_out = np.zeros(len(judged), bool)
        held_out[rows[test]] = True
        yield held_out


def _fit(samples: BlockSamples, used: NDArray[np.bool_], trees: int, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(trees, min_samples_leaf=3, max_features=0.4, random_state=seed)
    weight = np.where(samples.volume_index[used] == 0, _OWN_WEIGHT, 1.0)
    return forest.fit(samples.features[used], samples.errors[used], sample_weight=weight)


def _area(score: NDArray[Any], errors: NDArray[np.float64]) -> float:
    """Return the share of errors found, averaged over a review in the order of the score."""
    found = errors[np.argsort(-score, kind="stable")].cumsum()
    return float(found.mean() / found[-1])
