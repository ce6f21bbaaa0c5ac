"""Accepted voxels never change, by any door; an image that was exchanged is named."""

from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import ConflictError
from minivess.review.accepted_regions import apply_accepted
from minivess.review.mask_codec import pack_mask
from minivess.store import Answer, QueueItem, Region
from minivess.volume import Box


def item(box: Box, mask: np.ndarray, number: int) -> QueueItem:
    region = Region((0.0, 0.0, 0.0), box, (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), "gap", 1.0, 1.0, 1.0, "why")
    return QueueItem(f"a:1.{number}", "a", region, "m", "accepted", "ann", Answer(number, pack_mask(mask)))


@pytest.mark.row(121)
def test_apply_accepted__of_a_smaller_image_says_that_it_was_exchanged() -> None:
    answered = item(Box(0, 8, 0, 8, 0, 4), np.ones((8, 8, 4), bool), 1)
    with pytest.raises(ConflictError, match="replaced by another one"):
        apply_accepted(np.zeros((4, 4, 4), bool), [answered])


@pytest.mark.row(113)
def test_a_correction_does_not_change_voxels_that_were_accepted_before() -> None:
    first = item(Box(0, 4, 0, 4, 0, 4), np.ones((4, 4, 4), bool), 1)
    mask, locked = apply_accepted(np.zeros((8, 8, 4), bool), [first])
    box = Box(2, 6, 2, 6, 0, 4)
    corrected = np.zeros(box.shape, bool)
    kept = np.where(locked[box.slices], mask[box.slices], corrected)  # as ReviewService.answer does
    again, _ = apply_accepted(np.zeros((8, 8, 4), bool), [first, item(box, kept, 2)])
    assert again[:4, :4].all()
