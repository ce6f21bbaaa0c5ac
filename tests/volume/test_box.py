"""Boxes of voxels beside plain numpy: what a box says of an array is what indexing does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivess.volume import Box

SHAPE = (9, 8, 7)
points = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
offsets = st.tuples(*(st.integers(-20, 20) for _ in range(3)))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes inside an array of SHAPE, none of them empty."""
    ends = [sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in SHAPE]
    return Box(*(end for pair in ends for end in pair))


def voxels(*inside: Box) -> np.ndarray:
    """The voxels of boxes in an array of SHAPE, one voxel at a time."""
    mask = np.zeros(SHAPE, bool)
    for x, y, z in np.ndindex(*SHAPE):
        mask[x, y, z] = any(b.x0 <= x < b.x1 and b.y0 <= y < b.y1 and b.z0 <= z < b.z1 for b in inside)
    return mask


def test_box__half_open_bounds_along_x_y_z() -> None:
    box = Box(1, 4, 2, 4, 3, 10)
    assert box.slices == (slice(1, 4), slice(2, 4), slice(3, 10))
    assert (box.low, box.high, box.shape) == ((1, 2, 3), (4, 4, 10), (3, 2, 7))
    assert Box.from_corners(np.array([1, 2, 3]), (4, 4, 10)) == box


@given(box=boxes())
def test_box_slices__are_the_voxels_inside(box: Box) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[box.slices] = True
    np.testing.assert_array_equal(mask, voxels(box))
    assert mask[box.slices].shape == box.shape
    assert Box.from_corners(box.low, box.high) == box
    assert box.fits(SHAPE)


@given(box=boxes(), point=points)
def test_box_contains__the_voxels_inside(box: Box, point: tuple[int, int, int]) -> None:
    assert box.contains(point) == voxels(box)[point]


@given(first=boxes(), second=boxes())
def test_box_intersect__the_voxels_that_both_hold(first: Box, second: Box) -> None:
    common = first.intersect(second)
    expected = voxels(first) & voxels(second)
    assert (common is None) == (not expected.any())
    if common is not None:
        np.testing.assert_array_equal(voxels(common), expected)
        assert common.fits(SHAPE)
    assert second.intersect(first) == common


def test_box_intersect__boxes_that_only_touch_share_nothing() -> None:
    assert Box(0, 2, 0, 2, 0, 2).intersect(Box(2, 4, 0, 2, 0, 2)) is None
    assert Box(0, 2, 0, 2, 0, 2).intersect(Box(0, 2, 0, 2, 1, 1)) is None  # an empty box


@given(box=boxes(), offset=offsets)
def test_box_shifted__moves_both_corners(box: Box, offset: tuple[int, int, int]) -> None:
    moved = box.shifted(offset)
    assert moved.shape == box.shape
    assert np.subtract(moved.low, box.low).tolist() == list(offset)
    assert moved.shifted(np.negative(offset)) == box
    assert moved.relative_to(offset) == box


@given(outer=boxes(), other=boxes())
def test_box_relative_to__indexes_a_crop_as_the_box_indexes_the_whole_array(outer: Box, other: Box) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    inner = outer.intersect(other)
    if inner is not None:
        np.testing.assert_array_equal(array[outer.slices][inner.relative_to(outer.low).slices], array[inner.slices])


@given(inside=st.lists(points, max_size=6))
def test_box_around__is_the_smallest_box_with_all_set_voxels(inside: list[tuple[int, int, int]]) -> None:
    mask = np.zeros(SHAPE, bool)
    for point in inside:
        mask[point] = True
    box = Box.around(mask)
    if not inside:
        assert box is None
        return
    assert box is not None
    indices = np.argwhere(mask)
    assert box.low == tuple(indices.min(axis=0))
    assert box.high == tuple(indices.max(axis=0) + 1)
    assert Box.around(mask[box.slices]) == box.relative_to(box.low)


@given(box=boxes())
def test_box_around__finds_a_box_again(box: Box) -> None:
    assert Box.around(voxels(box)) == box


@given(box=boxes())
def test_box_from_json__reads_what_json_writes(box: Box) -> None:
    again = Box.from_json(json.loads(json.dumps(list(box))))
    assert again == box
    assert all(type(value) is int for value in again)
    computed = Box.from_corners(np.asarray(box.low, np.int64), np.asarray(box.high, np.int32))
    assert json.loads(json.dumps(computed)) == list(box)  # numpy's integers would not be written


@pytest.mark.parametrize("values", [[], [0, 1, 0, 1, 0], range(7), ["x", 1, 0, 1, 0, 1], [float("nan"), 1, 0, 1, 0, 1]])
def test_box_from_json__refuses_what_is_not_six_numbers(values: list[object]) -> None:
    with pytest.raises(ValueError, match="six integers" if len(values) != 6 else "integer|int"):
        Box.from_json(values)


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        (Box(0, 9, 0, 8, 0, 7), True),
        (Box(8, 9, 7, 8, 6, 7), True),
        (Box(0, 10, 0, 8, 0, 7), False),
        (Box(0, 9, 0, 8, -1, 7), False),
        (Box(0, 9, 3, 3, 0, 7), False),
        (Box(0, 9, 4, 3, 0, 7), False),
    ],
)
def test_box_fits__inside_an_array_and_not_empty(box: Box, fits: bool) -> None:
    assert box.fits(SHAPE) is fits


def test_box_from_corners__refuses_corners_of_other_dimensions() -> None:
    with pytest.raises(ValueError, match="zip"):
        Box.from_corners((0, 0), (1, 1, 1))
