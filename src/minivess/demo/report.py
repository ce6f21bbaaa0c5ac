"""Write the report of the demo: one HTML file that contains all of its images."""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import minivess
from minivess.evaluate.anchors import FAMILY_MARGINS
from minivess.html_page import html_figure, write_page
from minivess.pictures import Rgb


def write_html(
    path: Path,
    timings: Sequence[tuple[str, float]],
    scores: Sequence[dict[str, Any]],
    pictures: Sequence[tuple[str, Rgb]],
    facts: dict[str, Any],
    bundle: Path,
) -> Path:
    """Write the report as HTML.

    Args:
        path: File to write.
        timings: (step, seconds).
        scores: Rows of the score table; ``when`` is ``before`` or ``after``.
        pictures: (caption, (row, column, 3) uint8 image).
        facts: Results of the round, the calibration and the MAP.
        bundle: Retrained bundle, for the commands at the end.

    Returns:
        The path.

    Raises:
        OutputError: When the file cannot be written.
    """
    sections = [
        _introduction(facts),
        "<h2>Before and after</h2>",
        _score_table(scores),
        _gate_section(facts["training"]),
        "<p>A stack marked * was labelled in the round: its second row is not a held-out score. One round on tiny stacks shows "
        "that the workflow runs; it does not predict the scores on your data.</p>",
        "<h2>Predictions</h2>",
        "<p>Left: maximum-intensity projection along z. Middle: outline of the prediction in red, missed vessels in blue. Right, "
        "where shown: uncertainty, from dark (low) to bright (high).</p>",
        *(html_figure(caption, picture) for caption, picture in pictures),
        _queue_section(facts),
        "<h2>DICOM</h2>",
        f"<p>The MAP segmented a series of {facts['map']['slices']} slices: {facts['map']['verdict']}, "
        f"{facts['map']['vessel_share_percent']:.1f} % vessel. File: <code>{html.escape(facts['map']['seg'])}</code></p>",
        "<h2>Time</h2>",
        _timing_table(timings),
        "<h2>Next: your own data</h2>",
        "<pre>" + html.escape(_next_commands(bundle)) + "</pre>",
        "<p>Research software; not a medical device.</p>",
    ]
    return write_page(path, "MinIVess demo", sections)


def _introduction(facts: dict[str, Any]) -> str:
    return (
        "<h1>MinIVess: one round of active learning</h1>"
        f"<p>minivess {minivess.__version__}, on synthetic two-photon stacks with known ground truth. "
        "The first model was trained on small synthetic stacks of many microscopes, in minutes on a CPU. "
        "The server then selected the stack with the most uncertain prediction, "
        f"<b>{html.escape(str(facts['labelled']))}</b> ({html.escape(str(facts['reason']))}: {facts['score']:.2f}). "
        "Its true label was submitted in place of an annotator's label, and the model was retrained.</p>"
    )


def _gate_section(training: dict[str, Any]) -> str:
    """Describe the decision of the gate, and what the new model keeps of what the old one knew."""
    rows = [("the reviewed regions", training["scores_before"], training["scores"])]
    rows += [(anchor["name"], anchor["before"], anchor["after"]) for anchor in training["anchors"]]
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td></td><td>{old['dice']:.3f}</td><td>{new['dice']:.3f}</td>"
        f"<td>{old['cldice']:.3f}</td><td>{new['cldice']:.3f}</td></tr>"
        for name, old, new in rows
    )
    head = "<tr><th>judged on</th><th></th><th>Dice before</th><th>after</th><th>clDice before</th><th>after</th></tr>"
    return (
        f"<p>Training in the round: {html.escape(str(training['state']))}. The best candidate had "
        f"{html.escape(str(training['candidate']))}. It is published when it is better on the reviewed regions, and the mean of "
        f"Dice and clDice falls by no more than {training['margin']} over all synthetic stacks, and "
        f"{FAMILY_MARGINS.overlap} on one kind of them.</p><table>{head}{cells}</table>"
    )


def _queue_section(facts: dict[str, Any]) -> str:
    return (
        "<h2>Review queue</h2>"
        f"<p>The first ten regions of the review queue of {html.escape(str(facts['labelled']))}, before it was labelled, with "
        "the most expected errors first. Left: the image. Right: the image with the prediction in red. The yellow frame is the "
        "region. Times are estimates; they were not measured with annotators.</p>"
        f"<p>Statistical guarantee: {html.escape(str(facts['zones']))} The queue covers everything outside the background "
        f"zone.</p>{_region_figures(facts['places'])}"
    )


def _next_commands(bundle: Path) -> str:
    return (
        "source .venv/bin/activate\n"
        "minivess data make MY_DATA --spacing 0.994 0.994 5 --unit um --validation SUBJECT   # MY_DATA/images, MY_DATA/labels\n"
        f"minivess train MY_DATA --out MY_MODEL --from {shlex.quote(str(bundle))}\n"
        "minivess serve MY_STUDIES --bundle MY_MODEL                                          # then connect 3D Slicer"
    )


def _score_table(scores: Sequence[dict[str, Any]]) -> str:
    columns = ("stack", "when", "Dice", "clDice", "NSD", "HD95 (um)", "error in components")
    head = "<tr>" + "".join(f"<th>{name}</th>" for name in columns) + "</tr>"
    rows = []
    for stack in dict.fromkeys(row["stack"] for row in scores):
        for row in (r for r in scores if r["stack"] == stack):
            star = "*" if row["labelled"] else ""
            hd95 = "-" if row["hd95_um"] is None else f"{row['hd95_um']:.1f}"
            rows.append(
                f"<tr><td>{html.escape(stack)}{star}</td><td>{row['when']}</td><td>{row['dsc']:.3f}</td>"
                f"<td>{row['cldice']:.3f}</td><td>{row['nsd']:.3f}</td><td>{hd95}</td><td>{row['b0_error']}</td></tr>"
            )
    return f"<table>{head}{''.join(rows)}</table>"


def _timing_table(timings: Sequence[tuple[str, float]]) -> str:
    rows = "".join(f"<tr><td>{html.escape(title)}</td><td>{seconds:.0f} s</td></tr>" for title, seconds in timings)
    return f"<table>{rows}</table>"


def _region_figures(regions: Sequence[dict[str, Any]]) -> str:
    figures = []
    for number, region in enumerate(regions, start=1):
        caption = (
            f"{number}. {region['kind']}: {region['reason']}. Expected: {region['expected_errors']:.1f} errors, "
            f"about {region['cost_s']:.0f} s"
        )
        figures.append(html_figure(caption, Path(region["picture"]).read_bytes()))
    return f"<div class=regions>{''.join(figures)}</div>"
