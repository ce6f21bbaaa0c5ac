"""The evaluation report as JSON and as a page with tables and pictures of failures."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, OutputError
from minivess.evaluate.case_results import BASELINE, CaseResult
from minivess.evaluate.summary import COMPARED, SCORES, WORST_CASES, number_or_nan
from minivess.extras import how_to_install
from minivess.html_page import html_figure, html_table, number_text, write_page
from minivess.paths import write_json


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
        content: Of :func:`minivess.evaluate.summary.summarise`; of a sealed test set, only what may be told.
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
        worst = sorted((r for r in results if r.method == method), key=lambda r: number_or_nan(r.scores["cldice"]))[:WORST_CASES]
        for result in worst:
            if result.picture is not None:
                caption = (
                    f"{result.case}, {method}: Dice {result.scores['dsc']:.3f}, clDice {result.scores['cldice']:.3f}, "
                    f"pieces {result.scores['b0_error']} too many or too few"
                )
                sections.append(html_figure(caption, result.picture))
    return sections
