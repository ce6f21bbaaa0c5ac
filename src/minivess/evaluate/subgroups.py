"""Scores by subgroup, with fairlearn: worst group, gap, and no conclusion from fewer than ten cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minivess.extras import require_extra

#: Groups with fewer cases are shown, but nothing is concluded from them.
MIN_CASES = 10


def audit_subgroups(values: Sequence[float], groups: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Compute the mean score of each group of each attribute.

    Args:
        values: Score of each case; higher is better.
        groups: Attribute, for example ``brightness`` -> group of each case.

    Returns:
        For each attribute: ``attribute``, ``groups`` (name -> mean and number of cases), ``worst``, ``gap``, ``conclusion``.

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
        table = {str(name): {"mean": float(row["mean"]), "cases": int(row["cases"])} for name, row in frame.by_group.iterrows()}
        worst = min(table, key=lambda name: table[name]["mean"])
        gap = max(row["mean"] for row in table.values()) - table[worst]["mean"]
        small = sorted(name for name, row in table.items() if row["cases"] < MIN_CASES)
        if len(table) < 2:
            conclusion = "one group only"
        elif small:
            conclusion = f"none: fewer than {MIN_CASES} cases in {', '.join(small)}"
        else:
            conclusion = f"worst in {worst}, {gap:.3f} below the best"
        rows.append({"attribute": attribute, "groups": table, "worst": worst, "gap": gap, "conclusion": conclusion})
    return rows


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
