"""Places drawn at random among those where no error is expected most: only they show how the model does where it is sure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minivess.review.analysis import PredictionAnalysis
from minivess.review.region_selection import LOOK_S, Objective, blocks_to_voxels, describe_region, region_size, reviewed_blocks
from minivess.store.region import Region
from minivess.volume import Box

#: One place in so many is drawn at random.
ONE_IN = 10
_REASON = "drawn at random, to check the model where it is sure"


def add_random_checks(
    regions: Sequence[Region],
    analysis: PredictionAnalysis,
    score: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    reviewed: Iterable[Box] = (),
    objective: Objective = "mass",
) -> tuple[Region, ...]:
    """Return the regions with one that is drawn at random after every nine ranked ones.

    It is drawn uniformly among the boxes of the volume that neither hold a part of another region nor were reviewed.

    Args:
        regions: The ranked regions, most expected errors first.
        analysis: Analysis of the prediction that they are of.
        score: (blocks,) float64, expected errors of each block.
        rng: Source of randomness.
        reviewed: Boxes in voxels that were reviewed already.
        objective: Determines the size of the regions.

    Returns:
        All regions in the order of the queue; fewer random ones where the volume has no room for them.
    """
    blocks, volume = analysis.blocks, analysis.volume
    errors = blocks.to_grid(score)
    seen = reviewed_blocks([*reviewed, *(region.box for region in regions)], blocks, volume.shape)
    size = region_size(blocks, volume.spacing_um, objective)
    ordered: list[Region] = []
    for rank, region in enumerate(regions, start=1):
        ordered.append(region)
        if rank % (ONE_IN - 1):
            continue
        free = np.argwhere(~np.lib.stride_tricks.sliding_window_view(seen, size).any(axis=(3, 4, 5)))
        if not len(free):
            continue
        start = free[rng.integers(len(free))]
        window = Box.from_corners(start, np.add(start, size))
        seen[window.slices] = True
        box = blocks_to_voxels(window, blocks, volume.shape)
        drawn = describe_region(box, float(errors[window.slices].sum()), analysis)
        ordered.append(replace(drawn, kind="random check", reason=_REASON, cost_s=LOOK_S, queued_as=region.worth))
    return tuple(ordered)
