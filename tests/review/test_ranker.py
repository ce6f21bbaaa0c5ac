from __future__ import annotations

import numpy as np
import pytest
from review.example_stack import SPACING, example_probability

from minivess.review.blocks import FEATURE_NAMES, BlockFeatures, compute_block_features
from minivess.review.ranker import MIN_ANSWERS, BlockSamples, score_blocks, score_by_rule


@pytest.fixture(scope="module")
def blocks() -> BlockFeatures:
    p = example_probability().astype(np.float32)
    return compute_block_features(p, p >= 0.5, p, SPACING)


def make_samples(count: int, *, useful: bool, seed: int = 0) -> BlockSamples:
    """Samples in which the contrast predicts the errors and the rule's column does not, or the other way round."""
    rng = np.random.default_rng(seed)
    features = rng.random((count, len(FEATURE_NAMES))).astype(np.float32)
    column = FEATURE_NAMES.index("mean contrast") if useful else 0
    errors = (features[:, column] > 0.8).astype(float)
    return BlockSamples(features, errors, np.arange(count), np.zeros(count, np.int64))


def test_score_blocks__the_forest_learns_what_the_rule_does_not_know(blocks: BlockFeatures) -> None:
    score, ranked_by = score_blocks(blocks, make_samples(400, useful=True))
    assert ranked_by == "answers"
    assert np.corrcoef(score, blocks.column("mean contrast"))[0, 1] > 0.3


def test_score_blocks__by_the_rule_where_it_is_better_or_answers_are_few(blocks: BlockFeatures) -> None:
    for samples in (make_samples(400, useful=False), make_samples(MIN_ANSWERS - 1, useful=True), None):
        score, ranked_by = score_blocks(blocks, samples)
        assert ranked_by == "rule"
        np.testing.assert_array_equal(score, score_by_rule(blocks))


def test_score_blocks__answers_of_three_other_volumes_are_enough(blocks: BlockFeatures) -> None:
    others = [make_samples(200, useful=True, seed=seed) for seed in range(3)]
    assert score_blocks(blocks, BlockSamples.concatenate(None, others))[1] == "answers"
    assert score_blocks(blocks, BlockSamples.concatenate(None, others[:2]))[1] == "rule"
    joined = BlockSamples.concatenate(others[0], others[1:])
    assert np.unique(joined.answer_index).size == 600
    assert np.unique(joined.volume_index).tolist() == [0, 1, 2]


def test_score_by_rule__is_the_volume_expected_to_be_wrong_in_errors_of_1000_um3(blocks: BlockFeatures) -> None:
    expected_um3 = blocks.column("mean error probability").astype(float) * blocks.voxels * 5.0
    np.testing.assert_allclose(score_by_rule(blocks), expected_um3 / 1000)
