from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from review.example_stack import prediction_from
from scipy import ndimage

from minivess.review.analysis import PredictionAnalysis, analyse_prediction
from minivess.review.proposal import propose_regions
from minivess.review.random_checks import ONE_IN
from minivess.store.region import Region
from minivess.volume import Box

SHAPE = (400, 300, 8)


@pytest.fixture(scope="module")
def analysis() -> PredictionAnalysis:
    """Uncertain lines in three quarters of the volume; a certain background in the rest."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), (3, 3, 1))
    p = np.clip(0.3 + 0.2 * noise / noise.std(), 0.001, 0.9)
    p[300:] = 0.002
    prediction = prediction_from(p)
    return analyse_prediction(prediction.probability, prediction.mask.array > 0, p.astype(np.float32), threshold=0.5)


def queue(analysis: PredictionAnalysis, seed: int, count: int = 20, reviewed: tuple[Box, ...] = ()) -> tuple[Region, ...]:
    return propose_regions(analysis, count=count, reviewed=reviewed, rng=np.random.default_rng(seed)).regions


def test_one_region_in_ten_is_drawn_at_random_and_touches_no_other(analysis: PredictionAnalysis) -> None:
    regions = queue(analysis, 1)
    drawn = [n for n, region in enumerate(regions, start=1) if region.kind == "random check"]
    assert drawn == [ONE_IN, 2 * ONE_IN]
    for a, b in combinations(regions, 2):
        if "random check" in (a.kind, b.kind):
            assert a.box.intersect(b.box) is None
    worth = [region.worth for region in regions]
    assert worth == sorted(worth, reverse=True)
    assert [Region.from_json(region.to_json()) for region in regions] == list(regions)


def test_random_checks_reach_where_the_ranking_never_looks(analysis: PredictionAnalysis) -> None:
    drawn = [region for seed in range(12) for region in queue(analysis, seed) if region.kind == "random check"]
    assert any(region.box.low[0] >= 300 for region in drawn)
    assert len({region.box for region in drawn}) > len(drawn) / 2
    assert len({region.box for region in queue(analysis, 3)} ^ {region.box for region in queue(analysis, 3)}) == 0


def test_no_reviewed_region_is_drawn(analysis: PredictionAnalysis) -> None:
    reviewed = (Box.from_corners((300, 0, 0), SHAPE), Box.from_corners((0, 0, 0), (200, 200, 8)))
    drawn = [region for seed in range(5) for region in queue(analysis, seed, reviewed=reviewed) if region.kind == "random check"]
    assert not [region for region in drawn if any(region.box.intersect(box) for box in reviewed)]
