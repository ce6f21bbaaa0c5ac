"""The evaluation report: intervals over subjects, paired comparisons, calibration, subgroups, pictures of failures."""

from __future__ import annotations

import html
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import minivess
from minivess.errors import ConflictError, OutputError
from minivess.evaluate.case_results import BASELINE, CaseResult
from minivess.evaluate.intervals import compare_methods, interval_over_subjects
from minivess.evaluate.subgroups import audit_subgroups, terciles
from minivess.extras import how_to_install, missing_modules
from minivess.html_page import html_figure, html_table, number_text, write_page
from minivess.metrics import THINNING
from minivess.metrics.calibre import CLASSES_UM
from minivess.paths import write_json

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
_WORST_CASES = 4


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
    values = {score: {method: [_number(r.scores.get(score)) for r in rows[method]] for method in methods} for score in SCORES}
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
        allowed = _WORST_CASES if wanted and result.method != BASELINE else 0
        for number in sorted(pictured, key=lambda n: _number(kept[n].scores["cldice"]))[allowed:]:
            kept[number] = replace(kept[number], picture=None)
    return kept


def check_folder(folder: Path, *, replace: bool) -> None:
    """Create the folder of a report, and check that files can be written there.

    Args:
        folder: The folder.
        replace: Whether a report in it may be replaced.

    Raises:
        ConflictError: When it holds a report, and that may not be replaced.
        OutputError: When files cannot be written there.
    """
    if (folder / "report.json").exists() and not replace:
        raise ConflictError(f"{folder} holds a report. Nothing was evaluated. Choose another folder, or add --replace.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"No report can be written to {folder}: {error.strerror}. Choose another folder.") from error


def write_report(folder: Path, content: Mapping[str, Any], results: Sequence[CaseResult]) -> Path:
    """Write ``report.json`` and ``report.html``.

    Args:
        folder: Folder to write to.
        content: Of :func:`summarise`; of a sealed test set, only what may be told.
        results: The same results, for their pictures.

    Returns:
        Path of the HTML file.

    Raises:
        OutputError: When a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", content)
    size = f"{count_in_words(len(content['subjects']), 'subject')}, {count_in_words(content['cases'], 'case')}"
    head = f"<h1>Evaluation on {size}, section {html.escape(content['section'])}</h1>"
    head += "".join(f"<p><b>{html.escape(remark)}</b></p>" for remark in content.get("remarks", ()))
    if content.get("sealed"):
        return write_page(folder / "report.html", "MinIVess evaluation", [head, *_told_sections(content)])
    sections = [
        head,
        _models_section(content),
        "<h2>Scores</h2><p>Mean over subjects, with its 95 % interval (bootstrap over subjects; Student's t under ten, none "
        "under three). Distances do not exist where a method has found nothing: compare those over fewer subjects with care.</p>",
        html_table(
            ["score", *content["means"]],
            [
                [label, *(_of_all(means[score], len(content["subjects"])) for means in content["means"].values())]
                for score, label in SCORES.items()
            ],
        ),
        *_comparison_section(content["comparisons"]),
        *_calibre_section(content),
        *_coverage_section(content),
        *_subgroup_section(content),
        "<h2>Why these scores</h2>",
        html_table(["property", "here", "so"], [[p["property"], p["value"], p["consequence"]] for p in content["fingerprint"]]),
        *_gallery(results),
        "<h2>Every case</h2>",
        html_table(["case", "method", *SCORES.values()], [_case_row(row) for row in content["scores"]]),
        f"<p>clDice by {html.escape(str(content['thinning']))}. minivess {html.escape(str(content['minivess']))}. "
        "Research software; not a medical device.</p>",
    ]
    return write_page(folder / "report.html", "MinIVess evaluation", sections)


def _told_sections(content: Mapping[str, Any]) -> list[str]:
    """Return what may be told of a sealed test set."""
    return [
        f"<p>{html.escape(content['look'])}</p>",
        _models_section(content),
        "<h2>Scores</h2><p>Means over subjects, rounded to their standard error; a better one is told when it is better by as "
        "much. Nothing is told of single cases.</p>",
        html_table(["score", "told"], [[SCORES[name], told] for name, told in content["scores_told"].items()]),
        "<p>Research software; not a medical device.</p>",
    ]


def _without_nan(value: Any) -> Any:
    """Return plain values in which None stands for what is not a number: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _case_row(row: Mapping[str, Any]) -> list[Any]:
    return [row["case"], row["method"], *(row.get(score) for score in SCORES)]


def _comparison_section(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one row for each pair of methods, with all compared scores beside each other."""
    pairs: dict[tuple[str, str], list[Any]] = {}
    for found in comparisons:  # by score, and each score with the same pairs
        row = pairs.setdefault((found["first"], found["second"]), [])
        row += [interval_text(found["difference"]), found["p_adjusted"]]
    head = ["difference of", "and", *(name for score in COMPARED for name in (SCORES[score], "p"))]
    text = (
        "Differences on the same cases, over subjects; p by exchanging signs, corrected for the number of comparisons after Holm."
    )
    return [f"<h2>Paired comparison</h2><p>{text}</p>", html_table(head, [[*pair, *row] for pair, row in pairs.items()])]


def count_in_words(number: int, noun: str) -> str:
    """Return a number with its noun.

    Args:
        number: How many.
        noun: One of them.

    Example:
        >>> count_in_words(1, "subject"), count_in_words(3, "case")
        ('1 subject', '3 cases')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _number(value: float | None) -> float:
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
    return audit_subgroups([_number(r.scores["cldice"]) for r in results], groups, [r.subject for r in results])


def interval_text(interval: Mapping[str, Any]) -> str:
    """Return a mean with its interval, as :meth:`minivess.evaluate.intervals.Interval.to_json` states it; a dash for none."""
    if interval["mean"] is None or interval["mean"] != interval["mean"]:
        return "-"
    if interval["low"] is None:
        return number_text(interval["mean"])
    mean, low, high = (number_text(interval[key]) for key in ("mean", "low", "high"))
    return f"{mean} ({low}\u00a0to\u00a0{high})"  # a narrow column breaks before the interval


def _of_all(interval: Mapping[str, Any], subjects: int) -> str:
    """Return a mean with its interval, and of how many subjects it is where some have no such score."""
    missing = f", {interval['subjects']} of {subjects} subjects" if interval["subjects"] < subjects else ""
    return interval_text(interval) + missing


def _models_section(content: Mapping[str, Any]) -> str:
    rows = [[name, about.get("version"), str(about.get("weights_sha256", ""))[:16]] for name, about in content["models"].items()]
    return html_table(["model", "version", "weights"], rows)


def _calibre_section(content: Mapping[str, Any]) -> list[str]:
    rows = [
        [method, row["calibre"], row["reference_um"] / 1000, row["recall"], row["precision"]]
        for method, table in content["calibres"].items()
        for row in table
    ]
    limits = "capillary: up to 8 um wide, small: up to 20 um, large: above"
    return [f"<h2>Length by calibre</h2><p>{limits}.</p>", html_table(["method", "calibre", "mm", "recall", "precision"], rows)]


def _coverage_section(content: Mapping[str, Any]) -> list[str]:
    rows = [
        [method, found["promised_at_most"], interval_text(found["missed"])]
        for method, found in content["coverage"].items()
        if found
    ]
    if not rows:
        return ["<h2>Zones</h2><p>No model has calibrated zones: <code>minivess calibrate --help</code>.</p>"]
    head = ["method", "vessel in the background zone, promised at most", "found here"]
    return ["<h2>Zones</h2>", html_table(head, rows)]


def _subgroup_section(content: Mapping[str, Any]) -> list[str]:
    rows = []
    for method, table in content["subgroups"].items():
        for row in table:
            groups = ", ".join(f"{name} {g['mean']:.3f} (n {g['cases']})" for name, g in row["groups"].items())
            rows.append([method, row["attribute"], groups, row["conclusion"]])
    if not rows:
        return [f"<h2>Subgroups</h2><p>Not computed. {html.escape(how_to_install('evidence'))}</p>"]
    return ["<h2>Subgroups, by clDice</h2>", html_table(["method", "attribute", "mean", "conclusion"], rows)]


def _gallery(results: Sequence[CaseResult]) -> list[str]:
    """Return the worst cases of each model, with pictures."""
    sections = [
        "<h2>Failures</h2><p>The worst cases of each model by clDice. Left: projection along z. Right: outline of the mask in "
        "red, missed vessel in blue.</p>"
    ]
    for method in dict.fromkeys(r.method for r in results if r.method != BASELINE):
        worst = sorted((r for r in results if r.method == method), key=lambda r: _number(r.scores["cldice"]))[:_WORST_CASES]
        for result in worst:
            if result.picture is not None:
                caption = (
                    f"{result.case}, {method}: Dice {result.scores['dsc']:.3f}, clDice {result.scores['cldice']:.3f}, "
                    f"pieces {result.scores['b0_error']} too many or too few"
                )
                sections.append(html_figure(caption, result.picture))
    return sections
