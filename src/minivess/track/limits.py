"""The limits within which a new model may replace the old one, fixed before it is trained: a change control plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from minivess.errors import InputError
from minivess.evaluate.intervals import MIN_SUBJECTS, lower_limit
from minivess.evaluate.subgroups import MIN_CASES

#: Scores that limits may name: of these more is better.
SCORES = ("dsc", "cldice", "nsd")
_ENOUGH = f"{MIN_CASES} cases of {MIN_SUBJECTS} subjects"


@dataclass(frozen=True)
class Limits:
    """Acceptance limits.

    Attributes:
        at_least: Score -> mean over subjects that a model must reach.
        margin: Score -> how much it may fall below the champion, by the lower limit of the 95 % interval of the difference
            (Student's t over subjects).
        gain: Score of which at least one must rise: the lower limit of its interval, corrected for the number of these scores, is
            above 0. Empty: no gain is needed.
        subjects: Fewer subjects allow no promotion.
        subgroup_margin: How much the mean clDice of a subgroup (by calibre, brightness, voxel size) of ten cases of three
            subjects or more may be below the champion's; None: subgroups are not judged.
    """

    at_least: Mapping[str, float] = field(default_factory=dict)
    margin: Mapping[str, float] = field(default_factory=lambda: {"dsc": 0.01, "cldice": 0.01})
    gain: tuple[str, ...] = ("dsc", "cldice")
    subjects: int = 3
    subgroup_margin: float | None = None

    @staticmethod
    def read(path: Path) -> Limits:
        """Read limits from YAML.

        Raises:
            InputError: When the file is missing, or names something else than limits.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            allowed = [limit.name for limit in fields(Limits)]
            if unknown := set(content) - set(allowed):
                raise InputError(f"{path}: {', '.join(sorted(unknown))}. Allowed: {', '.join(allowed)}.")
            limits = Limits(**{**content, "gain": tuple(content.get("gain", Limits.gain))})
            numbers = [*limits.at_least.values(), *limits.margin.values(), limits.subjects, limits.subgroup_margin or 0]
        except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
            raise InputError(f"{path} holds no limits: {error}") from error
        named = dict.fromkeys([*limits.at_least, *limits.margin, *limits.gain])
        if isinstance(content.get("gain"), str) or (others := [str(name) for name in named if name not in SCORES]):
            got = f"gain: {content['gain']}" if isinstance(content.get("gain"), str) else ", ".join(others)
            raise InputError(f"{path}: {got}. Allowed: scores of {', '.join(SCORES)}; gain is a list of them.")
        if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
            raise InputError(f"{path}: limits are numbers from 0 on. Got {numbers}.")
        return limits


def judge(report: Mapping[str, Any], challenger: str, champion: str | None, limits: Limits) -> list[str]:
    """Return why a challenger must not replace the champion; nothing when it may.

    Both stand in one report, on the same cases.

    Args:
        report: Content of ``report.json``.
        challenger: Hash of its weights.
        champion: Hash of the champion's weights; None when there is none.
        limits: The limits.

    Raises:
        InputError: When the report is not about both, or tells nothing of single cases.
    """
    if not isinstance(report, Mapping) or not isinstance(report.get("models"), Mapping):
        raise InputError("The file is no evaluation report. Write one: minivess evaluate --report FOLDER")
    names = {about.get("weights_sha256"): name for name, about in report["models"].items()}
    for role, digest in (("challenger", challenger), ("champion", champion)):
        if digest is not None and digest not in names:
            raise InputError(
                f"The report is not about the {role} (weights {digest[:16]}). Evaluate both: minivess evaluate --help"
            )
    if "scores" not in report:
        raise InputError(
            "The report is of a sealed test set, and tells nothing of single cases. Compare on the validation cases."
        )
    if report.get("section") == "training":
        raise InputError("The report is of the training cases, which the models have seen. Compare on the validation cases.")
    new = [row for row in report["scores"] if row["method"] == names[challenger]]
    subjects = [row["subject"] for row in new]
    reasons = _of_one(report, names[challenger], subjects, limits)
    if champion is None:
        return reasons
    old = [row for row in report["scores"] if row["method"] == names[champion]]
    reasons += _compared(new, old, subjects, limits)
    if limits.subgroup_margin is not None:
        found = report.get("subgroups", {})
        reasons += _subgroups(found.get(names[challenger], []), found.get(names[champion], []), limits.subgroup_margin)
    return reasons


def _of_one(report: Mapping[str, Any], name: str, subjects: Sequence[str], limits: Limits) -> list[str]:
    """Return why a model must not be promoted, whatever the champion does."""
    reasons = []
    if len(set(subjects)) < limits.subjects:
        reasons.append(f"subjects: {len(set(subjects))}, the limits demand {limits.subjects}")
    if learned := report.get("learned_subjects", {}).get(name):
        reasons.append(f"the challenger has learned {len(learned)} of the subjects that it is judged on")
    for score, least in limits.at_least.items():
        mean = report["means"][name][score]["mean"]
        if mean is None or mean < least:
            reasons.append(f"{score} {mean if mean is None else round(mean, 3)}, the limit is {least}")
    return reasons


def _subgroups(new: Sequence[Any], old: Sequence[Any], margin: float) -> list[str]:
    """Return which subgroups lose more than the margin; where none could be compared, that is a reason, too."""
    reasons, compared = [], 0
    for mine, theirs in zip(new, old, strict=True):  # both on the same cases, and so in the same groups
        if len(mine["groups"]) < 2:
            continue  # all cases are alike in it: no subgroup
        large = {name: group for name, group in mine["groups"].items() if _is_judged(group)}
        compared += len(large)
        if not large:
            reasons.append(f"subgroups by {mine['attribute']}: none has {_ENOUGH}, so that none can be judged")
        for name, group in large.items():
            loss = theirs["groups"][name]["mean"] - group["mean"]
            if loss > margin:
                reasons.append(
                    f"cldice of {mine['attribute']} {name} is {loss:.3f} lower than the champion's, allowed is {margin}"
                )
    return reasons if reasons or compared else [f"subgroups: none has {_ENOUGH}, so that none can be judged"]


def _is_judged(group: Mapping[str, Any]) -> bool:
    """Return whether a subgroup is large enough; a report of an earlier version does not state its subjects."""
    return bool(group["cases"] >= MIN_CASES and group.get("subjects", MIN_SUBJECTS) >= MIN_SUBJECTS)


def _numbers(rows: Sequence[Any], score: str) -> list[float]:
    """Return a score of each case; NaN where a case has none, for example a distance to an empty mask."""
    return [math.nan if row[score] is None else float(row[score]) for row in rows]


def _compared(new: Sequence[Any], old: Sequence[Any], subjects: Sequence[str], limits: Limits) -> list[str]:
    difference = {s: np.subtract(_numbers(new, s), _numbers(old, s)) for s in (*limits.margin, *limits.gain)}
    reasons = []
    for score, margin in limits.margin.items():
        low = lower_limit(difference[score], subjects)
        if low is None:
            reasons.append(f"{score}: nothing can be said beside the champion's")
        elif low < -margin:
            reasons.append(f"{score} may be {-low:.3f} lower than the champion's, allowed is {margin}")
    sure = 1 - 0.025 / max(1, len(limits.gain))  # of several scores the best one counts (Bonferroni)
    lows = [lower_limit(difference[score], subjects, confidence=sure) for score in limits.gain]
    if limits.gain and not any(low is not None and low > 0 for low in lows):
        reasons.append(f"gain: none is certain in {' or '.join(limits.gain)}")
    return reasons
