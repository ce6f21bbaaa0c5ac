from __future__ import annotations

import cc3d
import numpy as np
import pytest
from review.drawing import tube

from minivess.errors import InputError
from minivess.models.normalise import Scaling
from minivess.review.edits import Edits
from minivess.review.prompts import MaskChange, PromptContext, connect, cut, grow, path, remove_branch
from minivess.review.tools import TOOLS, run_tool
from minivess.volume import Box

ISO = (1.0, 1.0, 1.0)
SHAPE = (70, 50, 20)
LINE = ((6, 25, 10), (63, 25, 10))


def probability_of(truth: np.ndarray, vessel: float = 0.9, rest: float = 0.03) -> np.ndarray:
    return np.where(truth, vessel, rest).astype(np.float32)


def context_of(
    mask: np.ndarray | None = None,
    probability: np.ndarray | None = None,
    contrast: np.ndarray | None = None,
    spacing_um: tuple[float, float, float] = ISO,
) -> PromptContext:
    nothing = np.zeros(SHAPE, np.float32)
    probability = nothing if probability is None else probability
    mask = probability > 1 if mask is None else mask
    return PromptContext(mask, probability, probability if contrast is None else contrast, Scaling(0.0, 1.0), spacing_um)


def applied(change: MaskChange, mask: np.ndarray, mode: str = "add") -> np.ndarray:
    edits = Edits(mask)
    edits.apply(change.voxels, change.start, mode, "test")
    return edits.mask


def components(mask: np.ndarray) -> int:
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_path__follows_the_vessel_and_is_as_wide() -> None:
    truth = tube(SHAPE, ((6, 10, 10), (35, 40, 10)), ((35, 40, 10), (63, 12, 10)), radius=3)
    probability = probability_of(truth)
    change = path(context_of(probability=probability), (6, 10, 10), (63, 12, 10))
    assert dice(applied(change, np.zeros(SHAPE, bool)), truth) > 0.85


def test_path__follows_a_vessel_that_only_the_image_shows() -> None:
    truth = tube(SHAPE, LINE, radius=2)
    contrast = probability_of(truth, 1.0, 0.0) + np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32)
    missed = np.full(SHAPE, 0.02, np.float32)
    result = applied(path(context_of(probability=missed, contrast=contrast), *LINE), np.zeros(SHAPE, bool))
    assert truth[result].mean() > 0.7
    assert result[tuple(np.array([(x, 25, 10) for x in range(8, 62)]).T)].mean() > 0.95


def test_connect__joins_two_ends_with_their_width() -> None:
    truth = tube(SHAPE, LINE, radius=3)
    gap = truth.copy()
    gap[28:42] = False
    assert components(gap) == 2
    probability = probability_of(gap, 0.9, 0.05) + probability_of(truth & ~gap, 0.2, 0.0)
    result = applied(connect(context_of(gap, probability), (25, 25, 10), (45, 26, 10)), gap)
    assert components(result) == 1
    assert dice(result, truth) > 0.95


def test_connect__accepts_clicks_beside_the_ends() -> None:
    gap = tube(SHAPE, LINE, radius=3)
    gap[28:42] = False
    result = applied(connect(context_of(gap, probability_of(gap)), (29, 29, 10), (40, 21, 12)), gap)
    assert components(result) == 1


@pytest.mark.parametrize("spacing_um", [ISO, (0.5, 0.5, 2.5)])
@pytest.mark.parametrize("end", [(63, 25, 10), (60, 45, 10), (50, 40, 17)])
def test_cut__divides_a_vessel_and_removes_little(spacing_um: tuple[float, float, float], end: tuple[int, int, int]) -> None:
    mask = tube(SHAPE, ((6, 15, 5), end), radius=3)
    middle = tuple(int((a + b) / 2) for a, b in zip((6, 15, 5), end, strict=True))
    result = applied(cut(context_of(mask, spacing_um=spacing_um), middle), mask, "remove")
    labels, count = cc3d.connected_components(result, connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel())[1:]
    assert count >= 2
    assert np.sort(sizes)[-2] > 0.2 * mask.sum()
    assert result.sum() > 0.7 * mask.sum()


def test_cut__a_single_voxel_goes_and_nothing_that_touches_it() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:12, 10:12, 10] = True
    mask[tuple(np.array(LINE[0])[:, None] + np.array([[0], [0], [0]]))] = True
    result = applied(cut(context_of(mask), (10, 10, 10)), mask, "remove")
    assert result.sum() == 1


def test_remove_branch__removes_one_branch_and_leaves_the_others() -> None:
    arms = [((5, 25, 10), (35, 25, 10)), ((35, 25, 10), (60, 8, 10)), ((35, 25, 10), (60, 42, 10))]
    mask = tube(SHAPE, *arms, radius=2)
    result = applied(remove_branch(context_of(mask), (55, 11, 10)), mask, "remove")
    rest = tube(SHAPE, arms[0], arms[2], radius=2)
    assert dice(result, rest) > 0.93
    assert not result[58:, :12].any()


def test_grow__fills_the_connected_voxels_inside_the_box() -> None:
    truth = tube(SHAPE, LINE, ((10, 5, 10), (60, 5, 10)), radius=2)
    faint = probability_of(truth, 0.3, 0.02)
    change = grow(context_of(probability=faint), (30, 26, 11), Box(20, 50, 0, 50, 0, 20))
    result = applied(change, np.zeros(SHAPE, bool))
    expected = tube(SHAPE, LINE, radius=2)
    expected[:20], expected[50:] = False, False
    np.testing.assert_array_equal(result, expected)


def test_prompts__refuse_clicks_where_they_find_nothing() -> None:
    mask = tube(SHAPE, LINE)
    p = probability_of(mask)
    with pytest.raises(InputError, match="must be inside the volume"):
        path(context_of(probability=p), (0, 0, 0), (70, 0, 0))
    with pytest.raises(InputError, match="no vessel in the mask within 8 um"):
        cut(context_of(mask), (30, 48, 0))
    with pytest.raises(InputError, match="must be inside the region"):
        grow(context_of(probability=p), (1, 1, 1), Box(20, 50, 0, 50, 0, 20))


def test_run_tool__joins_the_changes_of_several_clicks_in_one() -> None:
    mask = tube(SHAPE, ((6, 10, 10), (63, 10, 10)), ((6, 40, 10), (63, 40, 10)), radius=3)
    context, clicks = context_of(mask), [(20, 10, 10), (50, 40, 10)]
    single = [run_tool("cut", context, [click]) for click in clicks]
    joined = run_tool("cut", context, clicks)
    expected = np.zeros(SHAPE, bool)
    for change in single:
        expected |= mask & ~applied(change, mask, "remove")
    np.testing.assert_array_equal(mask & ~applied(joined, mask, "remove"), expected)
    assert components(applied(joined, mask, "remove")) == 4


def test_run_tool__grow_without_a_box_stays_in_a_region_around_the_click() -> None:
    vessel = tube((200, 50, 20), ((5, 25, 10), (195, 25, 10)), radius=2)
    probability = probability_of(vessel)
    context = PromptContext(~vessel & vessel, probability, probability, Scaling(0.0, 1.0), ISO)
    change = run_tool("grow", context, [(100, 25, 10)])
    result = applied(change, context.mask)
    assert (np.argwhere(result)[:, 0].min(), np.argwhere(result)[:, 0].max()) == (68, 132)
    np.testing.assert_array_equal(result[68:133], vessel[68:133])


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_run_tool__refuses_too_few_clicks(tool: str) -> None:
    needed = TOOLS[tool].clicks
    with pytest.raises(InputError, match=rf"{tool} needs {needed} clicks\. Got {needed - 1}"):
        run_tool(tool, context_of(), [(1, 1, 1)] * (needed - 1))
