"""What an evaluation found, as plain values: intervals over subjects, paired comparisons, calibration, subgroups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import minivess
from minivess.evaluate.case_results import BASELINE, CaseResult
from minivess.evaluate.intervals import compare_methods, interval_over_subjects
from minivess.evaluate.subgroups import audit_subgroups, terciles
from minivess.extras import missing_modules
from minivess.metrics import THINNING
from minivess.metrics.calibre import CLASSES_UM

#: Scores of the tables, with their names for people.
SCORES = {
    "dsc": "Dice",
    "cldice": "clDice",
    "nsd": "NSD",
    "hd95_um": "HD95 (um)",
    "masd_um": "MASD (um)",
    "assd_um": "ASSD (um)",
    "b0_error": "pieces too many or few",
    "b1_error": "loops too many or few",
    "ece": "calibration error",
    "ece_near_surface": "near the surface",
}
COMPARED = ("dsc", "cldice", "nsd")
_BOUNDS = dict.fromkeys(("dsc", "cldice", "nsd", "ece", "ece_near_surface"), (0.0, 1.0))  # of the others: 0 and more
#: Cases of each model whose pictures are shown.
WORST_CASES = 4


def summarise(results: Sequence[CaseResult], *, models: Mapping[str, Mapping[str, Any]], section: str) -> dict[str, Any]:
    """Return the report as plain values.

    Args:
        results: Of :func:`minivess.evaluate.case_results.evaluate_cases`.
        models: Method -> what names its model: bundle, version, hash of the weights, and ``alpha`` of its zones.
        section: Section of the data set.
    """
    methods = list(dict.fromkeys(result.method for result in results))
    rows = {method: [result for result in results if result.method == method] for method in methods}
    subjects = [result.subject for result in rows[methods[0]]]
    values = {
        score: {method: [number_or_nan(r.scores.get(score)) for r in rows[method]] for method in methods} for score in SCORES
    }
    trained = [method for method in methods if method != BASELINE]
    pairs = [(method, BASELINE) for method in trained]
    pairs += [(first, second) for n, first in enumerate(trained) for second in trained[n + 1 :]]
    compared = compare_methods({score: values[score] for score in COMPARED}, subjects, pairs)
    content = {
        "section": section,
        "cases": len(subjects),
        "subjects": sorted(set(subjects)),
        "models": {name: dict(about) for name, about in models.items()},
        "thinning": THINNING,
        "minivess": minivess.__version__,
        "fingerprint": problem_fingerprint(rows[methods[0]]),
        "means": {
            method: {
                score: interval_over_subjects(
                    values[score][method], subjects, bounds=_BOUNDS.get(score, (0.0, math.inf))
                ).to_json()
                for score in SCORES
            }
            for method in methods
        },
        "comparisons": [comparison.to_json() for comparison in compared],
        "calibres": {method: _pooled_calibres(rows[method]) for method in methods},
        "coverage": {method: _coverage(rows[method], models.get(method, {})) for method in trained},
        "subgroups": {method: _subgroups(rows[method]) for method in trained},
        "scores": [result.to_json() for result in results],
    }
    return {key: _without_nan(value) for key, value in content.items()}


def problem_fingerprint(results: Sequence[CaseResult]) -> list[dict[str, str]]:
    """Return the properties of the problem that decide which scores mean something (Metrics Reloaded, Maier-Hein et al. 2024).

    Args:
        results: One result for each case, of any method.
    """
    facts = [result.facts for result in results]
    calibre = float(np.median([f.mean_calibre_voxels for f in facts]))
    share = float(np.mean([f.vessel_share for f in facts]))
    anisotropy = max(max(f.spacing_um) / min(f.spacing_um) for f in facts)
    border = float(np.mean([f.border_share for f in facts]))
    return [
        _property("Tubular structures", "yes", "clDice; length recall and precision by calibre; Betti errors"),
        _property("Size of the structures", f"{calibre:.1f} voxels wide", "NSD with a tolerance of a voxel; Dice alone is harsh"),
        _property("Class imbalance", f"{100 * share:.1f} % vessel", "no accuracy; calibration error also near the surface"),
        _property("Voxels", f"{anisotropy:.1f} times as long as wide", "distances in um, never in voxels"),
        _property("Cut by the border", f"{100 * border:.0f} % of the pieces", "Betti numbers count what the border cuts"),
        _property("Independence", f"{len({r.subject for r in results})} subjects", "intervals over subjects, not over cases"),
    ]


def with_few_pictures(results: Iterable[CaseResult], *, wanted: bool) -> list[CaseResult]:
    """Collect results, with the pictures of each model's worst cases alone: those of all would fill the memory.

    Args:
        results: Of :func:`minivess.evaluate.case_results.evaluate_cases`.
        wanted: Whether there is a report for pictures at all.
    """
    kept: list[CaseResult] = []
    for result in results:
        kept.append(result)
        pictured = [n for n, one in enumerate(kept) if one.method == result.method and one.picture is not None]
        allowed = WORST_CASES if wanted and result.method != BASELINE else 0
        for number in sorted(pictured, key=lambda n: number_or_nan(kept[n].scores["cldice"]))[allowed:]:
            kept[number] = replace(kept[number], picture=None)
    return kept


def _without_nan(value: Any) -> Any:
    """Return plain values in which None stands for what is not a number: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number_or_nan(value: float | None) -> float:
    """Return a score as a number, NaN where there is none."""
    return math.nan if value is None else float(value)


def _property(name: str, value: str, consequence: str) -> dict[str, str]:
    return {"property": name, "value": value, "consequence": consequence}


def _pooled_calibres(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Return recall and precision of each class over the length of all cases."""
    pooled = []
    for index, name in enumerate(CLASSES_UM):
        classes = [result.calibres[index] for result in results]
        reference, predicted = sum(c.reference_um for c in classes), sum(c.predicted_um for c in classes)
        found = sum(c.reference_um * (c.recall or 0.0) for c in classes)
        true = sum(c.predicted_um * (c.precision or 0.0) for c in classes)
        pooled.append({
            "calibre": name,
            "reference_um": reference,
            "recall": found / reference if reference else None,
            "precision": true / predicted if predicted else None,
        })  # fmt: skip
    return pooled


def _coverage(results: Sequence[CaseResult], model: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how much vessel the background zone contains, beside what was promised."""
    missed = [result.missed for result in results if result.missed is not None]
    if not missed:
        return None
    kept = interval_over_subjects(missed, [r.subject for r in results if r.missed is not None], bounds=(0.0, 1.0))
    return {"promised_at_most": model.get("alpha"), "missed": kept.to_json()}


def _subgroups(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Return the audit of the subgroups; nothing without the extra that it needs."""
    if missing_modules("evidence"):
        return []
    facts = [result.facts for result in results]
    groups = {
        "brightness": terciles([f.brightness for f in facts], ("dim", "middle", "bright")),
        "calibre": terciles([f.mean_calibre_voxels for f in facts], ("thin", "middle", "thick")),
        "voxel size": [f"{f.spacing_um[0]:.2f} um" for f in facts],
    }
    return audit_subgroups([number_or_nan(r.scores["cldice"]) for r in results], groups, [r.subject for r in results])
