from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from review.drawing import tube

from minivess.metrics.masks import fill_cavities
from minivess.review.skeleton_graph import skeleton_graph


def test_skeleton_graph__a_straight_vessel_is_one_branch_with_two_free_ends() -> None:
    graph = skeleton_graph(tube((60, 20, 20), ((8, 10, 10), (50, 10, 10))), (1.0, 1.0, 1.0), longest_um=100)
    (branch,) = graph.branches
    assert branch.free_ends == 2
    assert branch.neighbours == ()
    assert branch.length_um == pytest.approx(42, abs=6)
    assert branch.radius_um == pytest.approx(2.5, abs=0.6)
    steps = np.abs(np.diff(branch.points, axis=0)).max(axis=1)
    assert (steps == 1).all()  # in order


def test_skeleton_graph__a_y_has_three_branches_that_meet() -> None:
    mask = tube((60, 60, 15), ((5, 30, 7), (30, 30, 7)), ((30, 30, 7), (52, 8, 7)), ((30, 30, 7), (52, 52, 7)))
    graph = skeleton_graph(mask, (1.0, 1.0, 1.0), longest_um=100)
    assert len(graph.branches) == 3
    for index, branch in enumerate(graph.branches):
        assert branch.free_ends == 1
        assert set(branch.neighbours) == {0, 1, 2} - {index}


def test_skeleton_graph__a_long_vessel_is_divided_into_branches_that_meet() -> None:
    graph = skeleton_graph(tube((120, 12, 12), ((5, 6, 6), (114, 6, 6))), (1.0, 1.0, 1.0), longest_um=30)
    assert len(graph.branches) == 4 or len(graph.branches) == 3
    assert sum(b.free_ends for b in graph.branches) == 2
    assert sorted(len(b.neighbours) for b in graph.branches)[:2] == [1, 1]
    assert all(b.length_um < 45 for b in graph.branches)


def test_skeleton_graph__lengths_and_radii_are_in_micrometres() -> None:
    mask = tube((40, 16, 16), ((5, 8, 8), (34, 8, 8)))
    fine, coarse = (skeleton_graph(mask, (s, s, s), longest_um=1000).branches[0] for s in (1.0, 3.0))
    assert coarse.length_um == pytest.approx(3 * fine.length_um)
    assert coarse.radius_um == pytest.approx(3 * fine.radius_um, rel=1e-4)


def test_skeleton_graph__an_empty_mask_has_no_branches() -> None:
    graph = skeleton_graph(np.zeros((5, 6, 7), bool), (1.0, 1.0, 5.0))
    assert graph.branches == ()
    assert not graph.branch_labels.any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.01, 0.6))
def test_skeleton_graph__every_voxel_of_any_mask_belongs_to_one_branch(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((12, 11, 6)) < share
    graph = skeleton_graph(mask, (1.0, 1.0, 5.0))
    assert ((graph.branch_labels > 0) == mask).all()
    assert graph.branch_labels.max(initial=0) <= len(graph.branches)
    for index, branch in enumerate(graph.branches):
        assert fill_cavities(mask)[tuple(branch.points.T)].all()
        assert 0 <= branch.free_ends <= 2
        for other in branch.neighbours:
            assert index in graph.branches[other].neighbours
