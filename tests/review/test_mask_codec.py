from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivess.errors import InputError
from minivess.review.mask_codec import pack_mask, unpack_mask


@given(shape=st.tuples(*(st.integers(1, 9) for _ in range(3))), seed=st.integers(0, 1000))
def test_unpack_mask__returns_what_pack_mask_packed(shape: tuple[int, int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.3
    result = unpack_mask(pack_mask(mask), shape)
    np.testing.assert_array_equal(result, mask)
    assert result.dtype == bool


def test_pack_mask__is_base64_of_zlib_of_one_bit_a_voxel_z_fastest() -> None:
    mask = np.zeros((1, 2, 8), bool)
    mask[0, 0, 0] = mask[0, 1, 7] = True
    assert zlib.decompress(base64.b64decode(pack_mask(mask))) == bytes([0b10000000, 0b00000001])


def test_unpack_mask__refuses_damaged_text() -> None:
    mask = np.random.default_rng(0).random((5, 7, 3)) < 0.3
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)
    for damaged in ("AAAA", "abc", pack_mask(mask)[:-8], "####", ""):
        with pytest.raises(InputError, match="A packed mask"):
            unpack_mask(damaged, mask.shape)


def test_unpack_mask__refuses_the_mask_of_another_box_and_expands_no_more_than_it() -> None:
    for other in ((5, 7, 2), (5, 7, 4)):
        with pytest.raises(InputError, match=r"fills its box of \(5, 7, 3\) voxels, 14 bytes"):
            unpack_mask(pack_mask(np.ones(other, bool)), (5, 7, 3))
    bomb = base64.b64encode(zlib.compress(bytes(10**8), 9)).decode()
    with pytest.raises(InputError, match="Got 15 bytes"):
        unpack_mask(bomb, (5, 7, 3))
