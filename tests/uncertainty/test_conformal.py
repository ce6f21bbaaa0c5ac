"""Conformal risk control: equal to MAPIE on its own grid, small, and valid over many splits."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.errors import InputError
from minivess.metrics.centreline import centreline_lengths
from minivess.uncertainty.conformal import LEVELS, Curve, check_subjects, control_risk, length_curve, voxel_curve


def volumes(count: int, seed: int, shape: tuple[int, ...] = (12, 12, 6)) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and masks of volumes that differ in how well the model does."""
    rng = np.random.default_rng(seed)
    masks = rng.random((count, *shape)) < 0.15
    quality = rng.uniform(0.5, 3.0, (count, *[1] * len(shape)))
    logits = np.where(masks, quality, -2.0) + rng.normal(0, 1.2, masks.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), masks


def by_mapie(probabilities: np.ndarray, masks: np.ndarray, alpha: float) -> float:
    from mapie.risk_control import SemanticSegmentationController

    flat = [a.reshape(len(a), 1, a.shape[1], -1) for a in (probabilities, masks)]
    controller = SemanticSegmentationController(lambda x: x, risk="recall", method="crc", target_level=1 - alpha)
    controller.calibrate(flat[0], flat[1].astype(int))
    return float(controller.best_predict_param[0])


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_threshold_is_mapie_s_on_mapie_s_grid(alpha: float, seed: int) -> None:
    probabilities, masks = volumes(30, seed)
    curves = [voxel_curve(p, m, str(i)) for i, (p, m) in enumerate(zip(probabilities, masks, strict=True))]
    ours = control_risk(curves, alpha, upper=0.99).lower
    grid = np.arange(0, 1, 0.01)
    assert float(grid[grid <= ours].max()) == by_mapie(probabilities, masks, alpha)


def test_the_curve_is_the_false_negative_rate_at_every_level() -> None:
    probabilities, masks = volumes(1, 7)
    curve = voxel_curve(probabilities[0], masks[0], "a")
    for index in range(0, LEVELS.size, 97):
        lost = (probabilities[0][masks[0]] <= LEVELS[index]).mean()
        assert curve.losses[index] == pytest.approx(lost, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_curve_only_grows(seed: int) -> None:
    probabilities, masks = volumes(1, seed, (8, 8, 4))
    if masks.any():
        losses = voxel_curve(probabilities[0], masks[0], "a").losses
        assert (np.diff(losses) >= 0).all()
        assert 0 <= losses[0] <= losses[-1] <= 1


@pytest.mark.requirement("R27")
def test_the_expected_loss_stays_below_alpha_over_many_splits() -> None:
    probabilities, masks = volumes(60, 3)
    curves = [voxel_curve(p, m, str(i)) for i, (p, m) in enumerate(zip(probabilities, masks, strict=True))]
    rng, losses = np.random.default_rng(0), []
    for _ in range(300):
        order = rng.permutation(60)
        lower = control_risk([curves[i] for i in order[:20]], 0.1, upper=0.99).lower
        losses.append(np.mean([curves[i].losses[np.searchsorted(LEVELS, lower)] for i in order[20:]]))
    assert 0.03 < np.mean(losses) < 0.1


def test_subjects_count_not_volumes() -> None:
    probabilities, masks = volumes(20, 5)
    curves = [voxel_curve(p, m, f"mouse{i % 4}") for i, (p, m) in enumerate(zip(probabilities, masks, strict=True))]
    with pytest.raises(InputError, match=r"need 9 subjects for a loss of 10 %. Got 4.*20 % or more"):
        control_risk(curves, 0.1, upper=0.5)
    assert control_risk(curves, 0.3, upper=0.5).subjects == 4
    with pytest.raises(InputError, match="need 19 subjects"):
        control_risk(curves, 0.05, upper=0.5)


def test_what_cannot_be_calibrated_is_said() -> None:
    with pytest.raises(InputError, match="Leave it out"):
        voxel_curve(np.zeros((3, 3, 3), np.float32), np.zeros((3, 3, 3), bool), "a")
    nothing = [Curve(str(i), np.ones(LEVELS.size)) for i in range(30)]
    with pytest.raises(InputError, match="Retrain the model first"):
        control_risk(nothing, 0.1, upper=0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        control_risk(nothing, 1.0, upper=0.5)


def test_zones__statement() -> None:
    probabilities, masks = volumes(30, 0)
    curves = [voxel_curve(p, m, str(i)) for i, (p, m) in enumerate(zip(probabilities, masks, strict=True))]
    zones = control_risk(curves, 0.1, upper=0.6)
    assert "30 subjects" in zones.statement()
    assert "a single one may lose more" in zones.statement()


def test_lengths_are_those_of_the_line() -> None:
    line = np.zeros((9, 9, 30), bool)
    line[4, 4, 2:28] = True
    voxels, lengths = centreline_lengths(line, (1.0, 1.0, 2.0))
    assert lengths.sum() == pytest.approx(25 * 2.0)
    assert len(voxels) == 26
    probability = np.where(line, 0.9, 0.1).astype(np.float32)
    probability[4, 4, 15:] = 0.2  # half of the line is faint
    curve = length_curve(probability, line, "a", spacing_um=(1.0, 1.0, 2.0))
    assert curve.losses[np.searchsorted(LEVELS, 0.5)] == pytest.approx(0.5, abs=0.03)
    one = np.zeros((5, 5, 5), bool)
    one[2, 2, 2] = True
    assert centreline_lengths(one, (1.0, 1.0, 5.0))[1].tolist() == [1.0]


def test_little_is_kept_of_a_large_volume() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((256, 256, 32), dtype=np.float32)
    mask = rng.random(probability.shape) < 0.05
    tracemalloc.start()
    start = time.process_time()
    curve = voxel_curve(probability, mask, "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert curve.losses.nbytes <= 64 * 1024
    assert peak < 16 * 2**20
    assert time.process_time() - start < 60  # no claim, only that it ends; the claim is in benchmarks


@pytest.mark.parametrize(("count", "alpha"), [(9, 0.1), (19, 0.05), (4, 0.2)])
def test_the_least_number_of_subjects_is_enough(count: int, alpha: float) -> None:
    lossless = [Curve(f"m{n}", np.where(LEVELS < 0.4, 0.0, 1.0)) for n in range(count)]
    assert control_risk(lossless, alpha, upper=0.5).subjects == count
    with pytest.raises(InputError, match="Not enough volumes"):
        check_subjects(count - 1, alpha)


def test_a_probability_that_is_a_level_is_lost_where_it_is_counted_as_lost() -> None:
    p = np.full((4, 4, 4), 0.07, np.float32)
    inside = np.ones(p.shape, bool)
    zones = control_risk([voxel_curve(p, inside, f"m{n}") for n in range(12)], 0.1, upper=0.5)
    assert (p <= zones.lower).mean() <= 0.1


def test_a_subject_counts_the_same_however_many_volumes_it_has() -> None:
    probabilities, masks = volumes(12, 3)
    curves = [voxel_curve(p, m, str(i)) for i, (p, m) in enumerate(zip(probabilities, masks, strict=True))]
    worst = max(curves, key=lambda curve: curve.losses.sum())
    once = control_risk(curves, 0.15, upper=0.99)
    assert control_risk([*curves, *[worst] * 20], 0.15, upper=0.99) == once
    assert control_risk([*curves, *[replace(worst, subject=f"new{n}") for n in range(20)]], 0.15, upper=0.99).lower < once.lower
