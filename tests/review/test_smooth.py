"""The tool Smooth: ragged outlines become even, thin vessels stay, nothing outside the region changes."""

from __future__ import annotations

import numpy as np
import pytest
from review.test_specks import context_of

from minivess.errors import InputError
from minivess.metrics import betti_numbers
from minivess.review.smooth import smooth
from minivess.review.tools import run_tool
from minivess.volume import Box

BOX = Box(10, 50, 10, 50, 1, 7)


def ragged() -> np.ndarray:
    """A tube with teeth and holes, and a capillary of one voxel beside it."""
    mask = np.zeros((60, 60, 8), bool)
    mask[:, 25:35, 2:6] = True
    mask[::4, 35, 2:6] = True
    mask[12::6, 28, 3] = False
    mask[:, 15, 4] = True
    return mask


def test_teeth_and_holes_go_and_the_capillary_stays() -> None:
    mask = ragged()
    change = smooth(context_of(mask), (20, 30, 4), BOX)
    assert change.voxels.shape == BOX.shape
    smoothed = mask.copy()
    smoothed[BOX.slices] = change.voxels
    inside = smoothed[BOX.slices]
    assert inside[1:-1, 15:25, 1:5].all()  # the tube, without holes
    assert not inside[:, 25, 1:5].any()  # its teeth
    assert inside[:, 5, 3].all()
    assert betti_numbers(smoothed)[0] == 2


def test_the_tool_replaces_the_region_around_the_last_click_and_needs_a_vessel() -> None:
    mask = ragged()
    change = run_tool("smooth", context_of(mask), [(0, 30, 4), (20, 30, 4)], BOX)
    np.testing.assert_array_equal(change.voxels, smooth(context_of(mask), (20, 30, 4), BOX).voxels)
    alone = run_tool("smooth", context_of(mask), [(20, 30, 4)])  # the size of a region around the click
    around = Box.from_corners(alone.start, np.add(alone.start, alone.voxels.shape))
    assert around.contains((20, 30, 4))
    np.testing.assert_array_equal(alone.voxels, smooth(context_of(mask), (20, 30, 4), around).voxels)
    with pytest.raises(InputError, match="no vessel in the mask"):
        run_tool("smooth", context_of(np.zeros((60, 60, 8), bool)), [(20, 30, 4)], BOX)


def test_smoothing_twice_changes_little_more() -> None:
    mask = ragged()
    once = mask.copy()
    once[BOX.slices] = smooth(context_of(mask), (20, 30, 4), BOX).voxels
    twice = smooth(context_of(once), (20, 30, 4), BOX).voxels
    assert (twice ^ once[BOX.slices]).sum() < (mask ^ once)[BOX.slices].sum() / 4
