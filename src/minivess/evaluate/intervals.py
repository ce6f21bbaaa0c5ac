"""Confidence intervals and paired comparisons over subjects: cases of one subject are not independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import permutation_test

_RESAMPLES = 10_000
#: With fewer subjects the bootstrap's 95 % interval covers the mean in 74 % (three subjects) to 87 % (eight) of the samples.
MIN_BOOTSTRAP = 10
#: Fewer subjects have no interval: nothing can be said about another one.
MIN_SUBJECTS = 3


@dataclass(frozen=True)
class Interval:
    """A mean over subjects with its interval: by bootstrap from ten subjects on, by Student's t under ten.

    Attributes:
        mean: Mean of the subjects' means.
        low: Lower limit of the 95 % interval; None under three subjects.
        high: Upper limit.
        standard_error: Of the mean, over subjects; None under two subjects.
        subjects: Number of subjects.
    """

    mean: float
    low: float | None
    high: float | None
    standard_error: float | None
    subjects: int

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    def __str__(self) -> str:
        """Return the mean with its interval, as text."""
        return f"{self.mean:.3f}" if self.low is None else f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two methods on the same cases.

    Attributes:
        score: Name of the score.
        first: Name of the method.
        second: Name of the method that it is compared with.
        difference: First minus second, over subjects.
        p_value: Two-sided, by exchanging the signs of the subjects' differences; None under three subjects.
        p_adjusted: After Holm, over all comparisons of the report.
    """

    score: str
    first: str
    second: str
    difference: Interval
    p_value: float | None
    p_adjusted: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)


def interval_over_subjects(
    values: Sequence[float] | NDArray[np.float64],
    subjects: Sequence[str],
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> Interval:
    """Compute the mean over subjects and its 95 % interval; NaN are left out.

    Args:
        values: One value for each case.
        subjects: Subject of each case.
        bounds: Lowest and highest value that there can be; the interval ends there.
        seed: Seed of the bootstrap.
    """
    means = _subject_means(values, subjects)
    count = len(means)
    if not count:
        return Interval(float("nan"), None, None, None, 0)
    error = float(means.std(ddof=1) / np.sqrt(count)) if count > 1 else None
    if count < MIN_SUBJECTS:
        return Interval(float(means.mean()), None, None, error, count)
    if count < MIN_BOOTSTRAP and error is not None:
        low, high = stats.t.interval(0.95, count - 1, means.mean(), error) if error else (means.mean(), means.mean())
        return Interval(float(means.mean()), max(float(low), bounds[0]), min(float(high), bounds[1]), error, count)
    drawn = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))
    low, high = np.percentile(means[drawn].mean(axis=1), (2.5, 97.5))
    return Interval(float(means.mean()), float(low), float(high), error, count)


def lower_limit(
    values: Sequence[float] | NDArray[np.float64], subjects: Sequence[str], *, confidence: float = 0.975
) -> float | None:
    """Compute the lower limit of the mean over subjects by Student's t; None under three subjects.

    Args:
        values: One value for each case; NaN are left out.
        subjects: Subject of each case.
        confidence: Share of samples in which the mean lies above the limit.
    """
    means = _subject_means(values, subjects)
    if len(means) < MIN_SUBJECTS:
        return None
    error = means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean() - stats.t.ppf(confidence, len(means) - 1) * error)


def compare_methods(
    values: Mapping[str, Mapping[str, Sequence[float]]], subjects: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    """Compare pairs of methods by every score, with p-values adjusted for the number of comparisons (Holm 1979).

    Args:
        values: Score -> method -> one value for each case, in the same order.
        subjects: Subject of each case.
        pairs: (method, method that it is compared with).
    """
    found = []
    for score, methods in values.items():
        for first, second in pairs:
            differences = np.subtract(methods[first], methods[second])
            p_value = _p_value(_subject_means(differences, subjects))
            found.append(Comparison(score, first, second, interval_over_subjects(differences, subjects), p_value))
    return _with_holm(found)


def _subject_means(values: Sequence[float] | NDArray[np.float64], subjects: Sequence[str]) -> NDArray[np.float64]:
    groups: dict[str, list[float]] = {}
    for value, subject in zip(values, subjects, strict=True):
        if np.isfinite(value):
            groups.setdefault(subject, []).append(float(value))
    return np.array([np.mean(group) for group in groups.values()])


def _p_value(differences: NDArray[np.float64]) -> float | None:
    if len(differences) < MIN_SUBJECTS:
        return None
    result = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=_RESAMPLES, rng=np.random.default_rng(0)
    )
    return float(result.pvalue)


def _with_holm(comparisons: list[Comparison]) -> list[Comparison]:
    tested = sorted((c for c in comparisons if c.p_value is not None), key=lambda c: c.p_value or 0.0)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, comparison in enumerate(tested):
        highest = max(highest, min(1.0, (comparison.p_value or 0.0) * (len(tested) - rank)))
        adjusted[id(comparison)] = highest
    return [Comparison(c.score, c.first, c.second, c.difference, c.p_value, adjusted.get(id(c))) for c in comparisons]
