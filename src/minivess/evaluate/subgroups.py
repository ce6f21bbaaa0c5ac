"""Scores by subgroup, with fairlearn: worst group, gap, and no conclusion from few cases or few subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minivess.evaluate.intervals import MIN_SUBJECTS, interval_over_subjects
from minivess.extras import require_extra

#: Groups with fewer cases are shown, but nothing is concluded from them.
MIN_CASES = 10


def audit_subgroups(
    values: Sequence[float], groups: Mapping[str, Sequence[str]], subjects: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute the mean score of each group of each attribute.

    Args:
        values: Score of each case; higher is better.
        groups: Attribute, for example ``brightness`` -> group of each case.
        subjects: Subject of each case.

    Returns:
        For each attribute: ``attribute``, ``groups`` (name -> mean, number of cases and subjects, 95 % interval over subjects),
        ``worst``, ``gap``, ``conclusion``.

    Raises:
        MissingExtraError: When fairlearn is not installed.
    """
    require_extra("evidence", "The audit of subgroups")
    from fairlearn.metrics import MetricFrame

    rows = []
    for attribute, names in groups.items():
        frame = MetricFrame(
            metrics={"mean": _mean_score, "cases": _count}, y_true=np.asarray(values), y_pred=np.asarray(values),
            sensitive_features={attribute: list(names)},
        )  # fmt: skip
        table: dict[str, dict[str, Any]] = {
            str(name): {"mean": float(row["mean"]), "cases": int(row["cases"])} for name, row in frame.by_group.iterrows()
        }
        for name, row in table.items():
            own = [index for index, group in enumerate(names) if str(group) == name]
            over_subjects = interval_over_subjects(
                [values[index] for index in own], [subjects[index] for index in own], bounds=(0.0, 1.0)
            )
            row |= {"subjects": over_subjects.subjects, "low": over_subjects.low, "high": over_subjects.high}
        worst, best = (choose(table, key=lambda name: table[name]["mean"]) for choose in (min, max))
        gap = table[best]["mean"] - table[worst]["mean"]
        rows.append({
            "attribute": attribute, "groups": table, "worst": worst, "gap": gap, "conclusion": _conclusion(table, worst, best),
        })  # fmt: skip
    return rows


def _conclusion(table: Mapping[str, Mapping[str, Any]], worst: str, best: str) -> str:
    small = sorted(name for name, row in table.items() if row["cases"] < MIN_CASES or row["subjects"] < MIN_SUBJECTS)
    if len(table) < 2:
        return "one group only"
    if small:
        return f"none: fewer than {MIN_CASES} cases of {MIN_SUBJECTS} subjects in {', '.join(small)}"
    certain = "" if table[worst]["high"] < table[best]["low"] else "; their intervals over subjects overlap"
    return f"worst in {worst}, {table[best]['mean'] - table[worst]['mean']:.3f} below the best{certain}"


def terciles(values: Sequence[float], names: tuple[str, str, str] = ("low", "middle", "high")) -> list[str]:
    """Return the tercile of each value, by name.

    Args:
        values: One value for each case.
        names: Of the three groups.

    Example:
        >>> terciles([1.0, 2.0, 3.0])
        ['low', 'middle', 'high']
    """
    limits = np.quantile(values, (1 / 3, 2 / 3))
    return [names[int(np.searchsorted(limits, value))] for value in values]


def _mean_score(y_true: Any, y_pred: Any) -> float:
    return float(np.mean(y_true))


def _count(y_true: Any, y_pred: Any) -> int:
    return len(y_true)
