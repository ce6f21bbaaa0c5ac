"""Choose which weights to average: those that make the mean better on held-out cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from minivess.ensemble.merge import merge_weights
from minivess.errors import WeightsError

#: Scores a weights file; higher is better.
Score = Callable[[Path], float]


def choose_ingredients(files: Sequence[Path], score: Score, folder: Path) -> list[Path]:
    """Return the weights that a greedy soup averages (Wortsman et al. 2022, arXiv 2203.05482, recipe 1).

    The best one, and each further one, in the order of their scores, with which the mean of all chosen is no worse. Weights that
    cannot predict are left out.

    Args:
        files: Weights files of one network.
        score: Scores one.
        folder: Where means are written on trial.

    Raises:
        WeightsError: When none of them can predict.
    """
    scores = {file: _score_or_none(score, file) for file in files}
    ranked = sorted((file for file in files if scores[file] is not None), key=lambda file: -(scores[file] or 0.0))
    if not ranked:
        raise WeightsError("None of these weights can predict. Train them again.")
    chosen, best = ranked[:1], scores[ranked[0]] or 0.0
    for file in ranked[1:]:
        found = _score_or_none(score, merge_weights([*chosen, file], folder / "trial.safetensors"))
        if found is not None and found >= best:
            chosen, best = [*chosen, file], found
    return chosen


def _score_or_none(score: Score, file: Path) -> float | None:
    try:
        return score(file)
    except WeightsError:
        return None
