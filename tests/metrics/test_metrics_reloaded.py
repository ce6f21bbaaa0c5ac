"""Our scores are those that MetricsReloaded computes, but for the cases in which it errs; its values were recorded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metrics.mask_pairs import Pair, odd_pairs, random_pairs

from minivess.metrics import cldice, dsc, surface_distances

RECORDED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("metrics_reloaded.json").read_text())["pairs"]


def ours(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, float]:
    distances = surface_distances(reference, prediction, spacing, tolerance=max(spacing))
    return {
        "dsc": dsc(reference, prediction),
        "cldice": cldice(reference, prediction, thinning="lee"),
        "nsd": distances.nsd,
        "hd_perc": distances.hd95,
        "masd": distances.masd,
        "assd": distances.assd,
    }


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("pair", list(random_pairs()), ids=lambda pair: pair[0])
def test_scores_equal_metrics_reloadeds(pair: Pair) -> None:
    name, *masks_and_spacing = pair
    recorded = {score: math.nan if value is None else value for score, value in RECORDED[name].items()}
    assert ours(*masks_and_spacing) == pytest.approx(recorded, abs=1e-9, rel=0, nan_ok=True)


#: Case -> score -> what MetricsReloaded computes, and what is right.
WHERE_IT_ERRS = {
    "both empty": {"cldice": (None, 1.0), "nsd": (None, 1.0), "dsc": (1.0, 1.0), "hd_perc": (0.0, 0.0)},
    "prediction empty": {"cldice": (None, 0.0), "dsc": (0.0, 0.0)},
    "reference empty": {"cldice": (None, 0.0), "dsc": (0.0, 0.0)},
    "disjoint vessels": {"cldice": (None, 0.0), "dsc": (0.0, 0.0)},
    "the same cube": {"cldice": (None, 1.0), "dsc": (1.0, 1.0), "masd": (0.0, 0.0)},
}


@pytest.mark.parametrize(("name", "reference", "prediction", "spacing"), list(odd_pairs()))
def test_where_metrics_reloaded_errs_ours_are_right(
    name: str, reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    found = {**ours(reference, prediction, spacing), "cldice": cldice(reference, prediction)}
    for score, (recorded, right) in WHERE_IT_ERRS.get(name, {}).items():
        assert RECORDED[name][score] == recorded, score
        assert found[score] == right, score


def test_masks_of_0_and_255_are_masks() -> None:
    (pair,) = (pair for pair in odd_pairs() if pair[0] == "masks of 0 and 255")
    name, reference, prediction, spacing = pair
    assert RECORDED[name]["dsc"] < 0.1, "it counts in 255ths"
    found = ours(reference, prediction, spacing)
    assert found == pytest.approx(ours(reference > 0, prediction > 0, spacing), nan_ok=True)
    assert found["dsc"] == pytest.approx(2 / 3)
