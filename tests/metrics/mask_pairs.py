"""Pairs of masks by seed, whose scores by MetricsReloaded are recorded, see ``record_metrics_reloaded.py``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

Pair = tuple[str, np.ndarray, np.ndarray, tuple[float, float, float]]
SHAPE = (20, 18, 12)


def random_pairs(count: int = 60) -> Iterator[Pair]:
    """Yield smooth random shapes beside a version that is shifted, noisy, grown or another one; none is empty."""
    rng = np.random.default_rng(8)
    for number in range(count):
        field, other = (ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.2) for _ in range(2))
        reference = field > 0.1
        changed = (
            np.roll(reference, 1, axis=number % 3),
            reference ^ (rng.random(SHAPE) > 0.97),
            ndimage.binary_dilation(reference),
            (field + 0.5 * other) > 0.1,
            other > 0.1,
        )
        x, y, z = rng.uniform(0.2, 6.0, 3).round(2).tolist()
        yield f"random {number}", reference, changed[number % len(changed)], (x, y, z)


def odd_pairs() -> Iterator[Pair]:
    """Yield cases in which implementations differ."""
    empty, vessel, cube, beside = (np.zeros(SHAPE, bool) for _ in range(4))
    vessel[:, 8:11, 5:8] = True
    beside[:, 2:5, 5:8] = True
    cube[4:8, 4:8, 4:8] = True
    spacing = (1.0, 1.0, 5.0)
    yield "both empty", empty, empty, spacing
    yield "prediction empty", vessel, empty, spacing
    yield "reference empty", empty, vessel, spacing
    yield "disjoint vessels", vessel, beside, spacing
    yield "the same cube", cube, cube, spacing
    yield "masks of 0 and 255", vessel * np.uint8(255), np.roll(vessel, 1, axis=1) * np.uint8(255), spacing
