from __future__ import annotations

import cc3d
import numpy as np
import pytest
from review.drawing import tube

from minivess.errors import InputError
from minivess.models.normalise import Scaling
from minivess.review.edits import Edits
from minivess.review.prompts import Change, Scene, connect, cut, grow, path, remove_branch

ISO = (1.0, 1.0, 1.0)
SHAPE = (70, 50, 20)
LINE = ((6, 25, 10), (63, 25, 10))


def probability_of(truth: np.ndarray, vessel: float = 0.9, rest: float = 0.03) -> np.ndarray:
    return np.where(truth, vessel, rest).astype(np.float32)


def scene(
    mask: np.ndarray | None = None,
    probability: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    spacing_um: tuple[float, float, float] = ISO,
) -> Scene:
    nothing = np.zeros(SHAPE, np.float32)
    probability = nothing if probability is None else probability
    mask = probability > 1 if mask is None else mask
    return Scene(mask, probability, probability if contrast is None else contrast, Scaling(0.0, 1.0), spacing_um)


def drawn(change: Change, mask: np.ndarray, mode: str = "add") -> np.ndarray:
    edits = Edits(mask)
    edits.apply(change.voxels, change.at, mode, "test")
    return edits.mask


def pieces(mask: np.ndarray) -> int:
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_path_follows_the_vessel_and_is_as_wide() -> None:
    truth = tube(SHAPE, ((6, 10, 10), (35, 40, 10)), ((35, 40, 10), (63, 12, 10)), radius=3)
    probability = probability_of(truth)
    change = path(scene(probability=probability), (6, 10, 10), (63, 12, 10))
    assert dice(drawn(change, np.zeros(SHAPE, bool)), truth) > 0.85


def test_a_path_through_what_only_the_image_shows() -> None:
    truth = tube(SHAPE, LINE, radius=2)
    contrast = probability_of(truth, 1.0, 0.0) + np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32)
    missed = np.full(SHAPE, 0.02, np.float32)
    result = drawn(path(scene(probability=missed, contrast=contrast), *LINE), np.zeros(SHAPE, bool))
    assert truth[result].mean() > 0.7
    assert result[tuple(np.array([(x, 25, 10) for x in range(8, 62)]).T)].mean() > 0.95


def test_connect_joins_two_ends_with_their_width() -> None:
    truth = tube(SHAPE, LINE, radius=3)
    gap = truth.copy()
    gap[28:42] = False
    assert pieces(gap) == 2
    probability = probability_of(gap, 0.9, 0.05) + probability_of(truth & ~gap, 0.2, 0.0)
    result = drawn(connect(scene(gap, probability), (25, 25, 10), (45, 26, 10)), gap)
    assert pieces(result) == 1
    assert dice(result, truth) > 0.95


def test_connect_takes_clicks_beside_the_ends() -> None:
    gap = tube(SHAPE, LINE, radius=3)
    gap[28:42] = False
    result = drawn(connect(scene(gap, probability_of(gap)), (29, 29, 10), (40, 21, 12)), gap)
    assert pieces(result) == 1


@pytest.mark.parametrize("spacing_um", [ISO, (0.5, 0.5, 2.5)])
@pytest.mark.parametrize("end", [(63, 25, 10), (60, 45, 10), (50, 40, 17)])
def test_cut_parts_a_vessel_and_takes_little(spacing_um: tuple[float, float, float], end: tuple[int, int, int]) -> None:
    mask = tube(SHAPE, ((6, 15, 5), end), radius=3)
    middle = tuple(int((a + b) / 2) for a, b in zip((6, 15, 5), end, strict=True))
    result = drawn(cut(scene(mask, spacing_um=spacing_um), middle), mask, "remove")
    labels, count = cc3d.connected_components(result, connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel())[1:]
    assert count >= 2
    assert np.sort(sizes)[-2] > 0.2 * mask.sum()
    assert result.sum() > 0.7 * mask.sum()


def test_cutting_a_speck_takes_the_speck_alone() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:12, 10:12, 10] = True
    mask[tuple(np.array(LINE[0])[:, None] + np.array([[0], [0], [0]]))] = True
    result = drawn(cut(scene(mask), (10, 10, 10)), mask, "remove")
    assert result.sum() == 1


def test_remove_takes_one_branch_and_leaves_the_others() -> None:
    arms = [((5, 25, 10), (35, 25, 10)), ((35, 25, 10), (60, 8, 10)), ((35, 25, 10), (60, 42, 10))]
    mask = tube(SHAPE, *arms, radius=2)
    result = drawn(remove_branch(scene(mask), (55, 11, 10)), mask, "remove")
    rest = tube(SHAPE, arms[0], arms[2], radius=2)
    assert dice(result, rest) > 0.93
    assert not result[58:, :12].any()


def test_grow_fills_what_hangs_together_inside_the_box() -> None:
    truth = tube(SHAPE, LINE, ((10, 5, 10), (60, 5, 10)), radius=2)
    faint = probability_of(truth, 0.3, 0.02)
    change = grow(scene(probability=faint), (30, 26, 11), (20, 50, 0, 50, 0, 20))
    result = drawn(change, np.zeros(SHAPE, bool))
    expected = tube(SHAPE, LINE, radius=2)
    expected[:20], expected[50:] = False, False
    np.testing.assert_array_equal(result, expected)


def test_clicks_that_mean_nothing_are_refused() -> None:
    mask = tube(SHAPE, LINE)
    p = probability_of(mask)
    with pytest.raises(InputError, match="lies in the volume"):
        path(scene(probability=p), (0, 0, 0), (70, 0, 0))
    with pytest.raises(InputError, match="Nothing is drawn within 8 um"):
        cut(scene(mask), (30, 48, 0))
    with pytest.raises(InputError, match="lies in the place"):
        grow(scene(probability=p), (1, 1, 1), (20, 50, 0, 50, 0, 20))
