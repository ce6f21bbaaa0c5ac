from __future__ import annotations

import numpy as np
import pytest
from review.example import make_region

from minivess.errors import StoreError
from minivess.review.accepted_regions import apply_accepted
from minivess.review.mask_codec import pack_mask
from minivess.store import Answer, QueueItem
from minivess.volume import Box

SHAPE = (6, 8, 4)


def answered(box: Box, mask: str, number: int = 1) -> QueueItem:
    state = "fixed" if mask else "skipped"
    return QueueItem(f"a:1.{number}", "a", make_region(box), "one", state, "ann", Answer(number, mask))


def test_apply_accepted__replaces_the_voxels_of_accepted_regions_only() -> None:
    mask = np.random.default_rng(0).random((5, 7, 3)) < 0.3
    items = [answered(Box(0, 5, 0, 7, 0, 3), pack_mask(mask)), answered(Box(0, 1, 0, 1, 0, 1), "", 2)]  # the second is skipped
    prediction = np.ones(SHAPE, bool)
    result, locked = apply_accepted(prediction, items)
    np.testing.assert_array_equal(result[:5, :7, :3], mask)
    assert locked.sum() == mask.size
    assert locked[:5, :7, :3].all()
    assert result[~locked].all()
    assert prediction.all()


def test_apply_accepted__the_later_answer_counts_where_regions_overlap() -> None:
    first, second = Box(0, 4, 0, 4, 0, 2), Box(2, 6, 2, 6, 0, 2)
    items = [answered(first, pack_mask(np.ones(first.shape, bool))), answered(second, pack_mask(np.zeros(second.shape, bool)), 2)]
    result, locked = apply_accepted(np.zeros(SHAPE, bool), items)
    assert not result[second.slices].any()
    assert result.sum() == 2 * (16 - 4)
    assert locked.sum() == 2 * (16 + 16 - 4)


def test_apply_accepted__changes_nothing_without_answers() -> None:
    prediction = np.random.default_rng(0).random(SHAPE) < 0.5
    pending = QueueItem("a:1.0", "a", make_region(Box(0, 2, 0, 2, 0, 2)), "one", "pending", "", None)
    result, locked = apply_accepted(prediction, [pending])
    np.testing.assert_array_equal(result, prediction)
    assert not locked.any()


def test_apply_accepted__a_damaged_answer_is_named() -> None:
    with pytest.raises(StoreError, match=r"The answer to a:1\.7 is damaged: A packed mask"):
        apply_accepted(np.zeros(SHAPE, bool), [answered(Box(0, 2, 0, 2, 0, 2), "####", 7)])
