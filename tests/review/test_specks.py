from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from minivess.errors import InputError
from minivess.models.normalise import fit_scaling
from minivess.review.prompts import PromptContext
from minivess.review.specks import LONGEST_UM, remove_specks
from minivess.review.tools import run_tool
from minivess.volume import Box

SHAPE = (80, 60, 8)


def context_of(mask: np.ndarray, spacing_um: tuple[float, float, float] = (1.0, 1.0, 4.0)) -> PromptContext:
    image = mask.astype(np.float32)
    return PromptContext(mask, image, image, fit_scaling(image, "two_photon"), spacing_um)


def vessel_and_specks() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[:, 28:33, 3:5] = True  # a vessel of 80 um
    mask[5, 5, 1] = mask[40, 50, 6] = mask[70, 10, 2] = True
    mask[20:23, 10:12, 1] = True  # 6 voxels
    mask[60:64, 45:50, 5:7] = True  # 40 voxels
    return mask


def test_a_click_on_a_speck_removes_all_that_are_not_larger() -> None:
    mask = vessel_and_specks()
    change = remove_specks(context_of(mask), (20, 11, 1))
    gone = np.zeros(SHAPE, bool)
    gone[5, 5, 1] = gone[40, 50, 6] = gone[70, 10, 2] = gone[20:23, 10:12, 1] = True
    np.testing.assert_array_equal(change.voxels, gone)


def test_only_pieces_that_lie_wholly_in_the_region() -> None:
    mask = vessel_and_specks()
    change = run_tool("specks", context_of(mask), [(20, 11, 1)], Box(0, 30, 0, 20, 0, 4))
    gone = np.zeros(SHAPE, bool)
    gone[5, 5, 1] = gone[20:23, 10:12, 1] = True
    np.testing.assert_array_equal(change.voxels, gone)
    with pytest.raises(InputError, match="reaches out of the region"):
        remove_specks(context_of(mask), (20, 11, 1), Box(0, 21, 0, 12, 0, 4))


def test_a_vessel_is_no_speck() -> None:
    with pytest.raises(InputError, match="80 um long: a vessel"):
        remove_specks(context_of(vessel_and_specks()), (40, 30, 4))
    with pytest.raises(InputError, match="no vessel in the mask"):
        remove_specks(context_of(vessel_and_specks()), (0, 59, 7))


@given(npst.arrays(bool, (9, 8, 3)), st.integers(0, 10**6))
def test_what_is_removed_is_whole_pieces(mask: np.ndarray, pick: int) -> None:
    drawn = np.argwhere(mask)
    if not len(drawn):
        return
    i, j, k = (int(v) for v in drawn[pick % len(drawn)])
    gone = remove_specks(context_of(mask, (LONGEST_UM / 9,) * 3), (i, j, k)).voxels
    assert gone[i, j, k]
    assert not (gone & ~mask).any()
    grown = np.pad(gone, 1)
    near = np.zeros_like(grown)
    for shift in np.ndindex(3, 3, 3):
        near |= np.roll(grown, np.subtract(shift, 1), (0, 1, 2))
    assert not (near[1:-1, 1:-1, 1:-1] & mask & ~gone).any()  # nothing that is left touches what went
