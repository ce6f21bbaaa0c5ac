"""Active learning: choose what to label next for training, patches of a volume or one of several volumes.

This is not the choice of regions to review: regions with most errors are often the least useful for training. The strong
baseline is random choice with a share of foreground (nnActive, TMLR 2025). ``"power"`` follows ClaSP PE (TMLR 2026): predictive
entropy, two thirds of it stratified by predicted class, with noise on the logarithm that decreases over the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.models import binary_entropy

#: ``"random"``: uniform. ``"foreground"``: two thirds by predicted vessel. ``"errors"``: most expected errors per predicted
#: voxel. ``"power"``: entropy with noise, two thirds of it in one predicted class.
Strategy = Literal["random", "foreground", "errors", "power"]
#: Share of the choices that are stratified by class, as in nnActive and ClaSP PE.
STRATIFIED = 2 / 3
_TINY = 1e-9


def patch_scores(probability: NDArray[np.float32], patch: tuple[int, int, int], *, threshold: float = 0.5) -> NDArray[np.float64]:
    """Compute the scores that the strategies use, for each patch of a regular grid.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        patch: Voxels of a patch along x, y, z; incomplete patches at the far ends are left out.
        threshold: Probability from which a voxel counts as vessel.

    Returns:
        (grid x, grid y, grid z, 4) float64: for each patch the share of predicted vessel, the expected errors per predicted
        voxel, and the mean entropy in nats of predicted vessel and of predicted background.

    Raises:
        InputError: When the volume is smaller than a patch.
    """
    grid = [n // p for n, p in zip(probability.shape, patch, strict=True)]
    if min(grid) < 1:
        raise InputError(f"A patch of {patch} voxels does not fit into a volume of {probability.shape}.")
    inner = np.ascontiguousarray(probability[tuple(slice(0, g * p) for g, p in zip(grid, patch, strict=True))])

    def per_patch(values: NDArray[np.floating]) -> NDArray[np.float64]:
        blocks = values.reshape(grid[0], patch[0], grid[1], patch[1], grid[2], patch[2])
        return np.asarray(blocks.sum(axis=(1, 3, 5), dtype=np.float64))

    vessel = (inner >= threshold).astype(np.float32)
    entropy, wrong = binary_entropy(inner), np.minimum(inner, 1 - inner)
    count, total = per_patch(vessel), float(np.prod(patch))
    return np.stack(
        [
            count / total,
            per_patch(wrong) / np.maximum(count, 1),
            per_patch(entropy * vessel) / np.maximum(count, 1),
            per_patch(entropy * (1 - vessel)) / np.maximum(total - count, 1),
        ],
        axis=-1,
    )


def choose(
    scores: NDArray[np.float64],
    strategy: Strategy,
    count: int,
    rng: np.random.Generator,
    *,
    taken: Sequence[int] = (),
    sharpness: float = 1.0,
) -> list[int]:
    """Choose what to label next, each row at most once.

    Args:
        scores: (n, 4) float64, rows of :func:`patch_scores`, of patches or of whole volumes.
        strategy: See :data:`Strategy`.
        count: Number of rows to choose; fewer are returned when fewer are left.
        rng: Random generator.
        taken: Rows that are already labelled.
        sharpness: Of ``"power"``: the greater, the less noise; increase it over the rounds.

    Returns:
        Indices of rows, in the order of choice.

    Raises:
        InputError: When the strategy is unknown.
    """
    if strategy not in get_args(Strategy):
        raise InputError(f"Unknown strategy {strategy!r}. Allowed: {', '.join(get_args(Strategy))}.")
    left = np.ones(len(scores), bool)
    left[list(taken)] = False
    chosen: list[int] = []
    while len(chosen) < count and left.any():
        by_class = len(chosen) < round(STRATIFIED * count) if count > 1 else rng.random() < STRATIFIED
        score = _row_scores(scores, strategy, by_class, len(chosen) % 2, rng, sharpness)
        chosen.append(int(np.where(left, score, -np.inf).argmax()))
        left[chosen[-1]] = False
    return chosen


def _row_scores(
    scores: NDArray[np.float64], strategy: Strategy, by_class: bool, turn: int, rng: np.random.Generator, sharpness: float
) -> NDArray[np.float64]:
    """Score the rows for one choice; the row with the highest score is chosen."""
    noise = rng.gumbel(size=len(scores))  # the maximum of logarithm plus Gumbel noise is a draw by weight
    vessel, errors, in_vessel, in_background = scores.T
    if strategy == "errors":
        return errors + _TINY * noise
    if strategy == "foreground" and by_class:
        return np.log(vessel + _TINY) + noise
    if strategy == "power":
        mean = vessel * in_vessel + (1 - vessel) * in_background
        of_class = (in_vessel, in_background)[turn] if by_class else mean
        return np.log(of_class + _TINY) + noise / sharpness
    return noise
