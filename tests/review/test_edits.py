from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.errors import InputError
from minivess.review.edits import Edits, EditStep
from minivess.volume import Box

SHAPE = (14, 11, 7)


def random_window(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Random voxels of a window of random size, and the first voxel of the window."""
    size = [int(rng.integers(1, n + 1)) for n in SHAPE]
    start = tuple(int(rng.integers(0, n - s + 1)) for n, s in zip(SHAPE, size, strict=True))
    return rng.random(size) < 0.5, start


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    moves=st.lists(st.sampled_from(["add", "remove", "replace", "undo", "redo", "lock"]), max_size=40),
)
def test_edits__no_locked_voxel_changes_whatever_is_done(seed: int, moves: list[str]) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < 0.4
    edits = Edits(mask, rng.random(SHAPE) < 0.2)
    for move in moves:
        before, locked = edits.mask.copy(), edits.locked.copy()
        if move == "undo":
            edits.undo()
        elif move == "redo":
            edits.redo()
        elif move == "lock":
            voxels, start = random_window(rng)
            edits.locked[Box.from_corners(start, np.add(start, voxels.shape)).slices] = True
        else:
            edits.apply(*random_window(rng), move, move)
        assert (edits.mask[locked] == before[locked]).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 12))
def test_undo__all_undone_is_the_start_and_all_redone_the_end(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < 0.4
    edits = Edits(mask, rng.random(SHAPE) < 0.2)
    for _ in range(steps):
        edits.apply(*random_window(rng), ("add", "remove", "replace")[int(rng.integers(3))], "step")
    end, count = edits.mask.copy(), len(edits.done)
    while edits.undo():
        pass
    np.testing.assert_array_equal(edits.mask, mask)
    while edits.redo():
        pass
    np.testing.assert_array_equal(edits.mask, end)
    assert len(edits.done) == count


def test_apply__a_new_step_forgets_what_was_undone() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    cube = np.ones((2, 2, 2), bool)
    edits.apply(cube, (0, 0, 0), "add", "first")
    edits.undo()
    edits.apply(cube, (4, 4, 4), "add", "second")
    assert edits.redo() is None
    assert [step.name for step in edits.done] == ["second"]
    assert edits.done[0].voxels == 8


def test_apply__a_step_that_changes_nothing_is_none() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    assert edits.apply(np.ones((2, 2, 2), bool), (0, 0, 0), "remove", "nothing") is None
    assert edits.undo() is None


def test_edits__refuse_what_does_not_fit() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    with pytest.raises(InputError, match="must be inside the mask"):
        edits.apply(np.ones((3, 3, 3), bool), (12, 0, 0), "add", "out")
    with pytest.raises(InputError, match="add, remove, replace"):
        edits.apply(np.ones((1, 1, 1), bool), (0, 0, 0), "paint", "what")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the shape of the mask"):
        Edits(np.zeros(SHAPE, bool), np.zeros((1, 1, 1), bool))


def test_edits__fifty_steps_on_a_large_volume_need_little_memory() -> None:
    rng = np.random.default_rng(0)
    edits = Edits(np.zeros((512, 512, 128), bool))
    for _ in range(50):
        start = tuple(int(rng.integers(0, n - s)) for n, s in zip((512, 512, 128), (128, 128, 32), strict=True))
        edits.apply(rng.random((128, 128, 32)) < 0.5, start, "replace", "noise")  # the worst case: nothing to compress
    used = sum(len(step.flipped) + len(step.vessel) + len(step.background) for step in edits.done)
    used += edits.mask.nbytes + edits.locked.nbytes
    assert len(edits.done) == 50
    assert used < 200e6


def test_apply__prompts_leave_hand_drawn_voxels_until_these_are_undone() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    cube = np.ones((3, 3, 3), bool)
    edits.apply(cube, (0, 0, 0), "add", "draw", by_hand=True)
    assert edits.apply(np.ones((5, 5, 5), bool), (0, 0, 0), "remove", "cut") is None
    edits.apply(np.ones((5, 5, 5), bool), (0, 0, 0), "add", "path")
    assert edits.apply(np.ones((5, 5, 5), bool), (0, 0, 0), "remove", "cut").voxels == 125 - 27
    assert edits.mask.sum() == 27
    for _ in range(3):
        edits.undo()
    edits.apply(np.ones((1, 1, 1), bool), (0, 0, 0), "add", "path")
    assert edits.apply(cube, (0, 0, 0), "remove", "cut").voxels == 1  # no voxel is drawn by hand any more


def test_apply__a_later_stroke_changes_hand_drawn_voxels() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    cube = np.ones((3, 3, 3), bool)
    edits.apply(cube, (0, 0, 0), "add", "draw", by_hand=True)
    assert edits.apply(cube, (0, 0, 0), "remove", "draw", by_hand=True).voxels == 27


def test_edits__steps_are_applied_to_another_prediction() -> None:
    first, second = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    edits = Edits(first)
    cube = np.ones((3, 3, 3), bool)
    edits.apply(cube, (0, 0, 0), "add", "path")
    edits.apply(cube, (6, 6, 3), "add", "path")
    edits.apply(cube[:2], (6, 6, 3), "remove", "cut")
    again = Edits(second, steps=edits.done)
    assert not again.mask[6:8, 6:9, 3:6].any()
    assert again.mask.sum() == second.size - 18
    assert again.undo().name == "cut"
    assert again.undo() is None  # the paths changed no voxel


def test_apply__nothing_outside_the_box_changes() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    edits.apply(np.ones((6, 6, 6), bool), (2, 2, 1), "add", "path", within=Box(0, 4, 0, 4, 0, 7))
    assert edits.mask.sum() == 2 * 2 * 6
    assert not edits.mask[4:].any()
    assert edits.apply(np.ones((2, 2, 2), bool), (8, 8, 1), "add", "path", within=Box(0, 4, 0, 4, 0, 7)) is None


def test_undo__a_step_in_an_accepted_region_is_visible_again_when_that_answer_is_withdrawn() -> None:
    edits = Edits(np.zeros(SHAPE, bool), np.zeros(SHAPE, bool))
    below = edits.apply(np.ones((2, 2, 2), bool), (8, 0, 0), "add", "below")
    step = edits.apply(np.ones((2, 2, 2), bool), (0, 0, 0), "add", "draw", by_hand=True)
    edits.locked[:4, :4, :4] = True
    assert not edits.is_visible(step)
    assert edits.undo() == below
    assert edits.undo() is None
    edits.locked[:] = False
    assert edits.done == [step]
    assert edits.undo() == step
    assert not edits.mask.any()


def test_edit_step__is_read_from_json_without_what_it_changed() -> None:
    edits = Edits(np.zeros(SHAPE, bool))
    step = edits.apply(np.ones((2, 2, 2), bool), (8, 1, 2), "add", "path", by_hand=True)
    again = EditStep.from_json(json.loads(json.dumps(step.to_json())))
    assert again.box == Box(8, 10, 1, 3, 2, 4)
    assert again == replace(step, flipped="", voxels=0)
    assert Edits(np.zeros(SHAPE, bool), steps=[again]).done == [step]
