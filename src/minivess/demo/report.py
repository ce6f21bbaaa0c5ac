"""The page that the demonstration ends with: one file, pictures inside, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import minivess
from minivess.paths import atomic_file
from minivess.pictures import Rgb, png_bytes

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
img { width: 100%; image-rendering: auto; border-radius: 4px; }
.places { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 0 1rem; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; opacity: .8; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .3rem .8rem; text-align: right; }
th { border-bottom: 2px solid; } td:nth-child(-n+3), th:nth-child(-n+3) { text-align: left; }
code, pre { background: #8882; border-radius: 4px; padding: .1rem .3rem; } pre { padding: .8rem; overflow: auto; }
"""


def write_html(
    path: Path,
    timings: Sequence[tuple[str, float]],
    scores: Sequence[dict[str, Any]],
    pictures: Sequence[tuple[str, Rgb]],
    facts: dict[str, Any],
    bundle: Path,
) -> Path:
    """Write the report.

    Args:
        path: HTML file to write.
        timings: (step, seconds).
        scores: Rows of the score table, ``when`` being ``before`` or ``after``.
        pictures: (caption, picture).
        facts: What happened in the round and in the application.
        bundle: The retrained bundle, for the commands at the end.
    """
    sections = [
        "<h1>MinIVess: one round of the loop</h1>",
        f"<p>minivess {minivess.__version__}, on synthetic two-photon stacks with known truth. "
        "The first model learned from two capillary stacks; a third, of large vessels, chose its checkpoint. "
        "The server then asked for the stack that the model was most unsure of, "
        f"<b>{html.escape(str(facts['labelled']))}</b> ({html.escape(str(facts['reason']))}: {facts['score']:.2f}), "
        "got its true label as an annotator would give it, and retrained.</p>",
        "<h2>Before and after</h2>",
        _score_table(scores),
        f"<p>Training in the round: {html.escape(str(facts['training']['state']))} (Dice on the held-out stack "
        f"{facts['training']['published_dice_before']:.3f} before, {facts['training']['validation_dice']:.3f} after).</p>",
        "<p>A stack marked * was labelled in the round, so its second row is no held-out score. One round on tiny stacks shows "
        "that the loop works; it says nothing about your data.</p>",
        "<h2>What it looks like</h2>",
        "<p>Left: brightest voxel along z. Then the predicted outline in red, with what it misses in blue. Right, where shown: "
        "uncertainty, dark is sure.</p>",
        *(_figure(caption, picture) for caption, picture in pictures),
        "<h2>Where to look first</h2>",
        f"<p>The queue for {html.escape(str(facts['labelled']))} before it was labelled: the ten places, in the order of errors "
        "to expect, that an annotator would be sent to. Left as the microscope saw it, right with what was drawn in red; the "
        "yellow frame is the place. Times are estimates, not measured on people.</p>",
        f"<p>What can be promised: {html.escape(str(facts['zones']))} The queue looks at all that is not in the background "
        "zone.</p>",
        _places(facts["places"]),
        "<h2>DICOM</h2>",
        f"<p>The application segmented a series of {facts['map']['slices']} slices: {facts['map']['verdict']}, "
        f"{facts['map']['vessel_share_percent']:.1f} % vessel. File: <code>{html.escape(facts['map']['seg'])}</code></p>",
        "<h2>Time</h2>",
        _timing_table(timings),
        "<h2>Go on with your own data</h2>",
        "<pre>" + html.escape(_next_commands(bundle)) + "</pre>",
        "<p>Research software; not a medical device.</p>",
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>MinIVess demo</title><style>{_STYLE}</style>"
    with atomic_file(path) as temporary:
        temporary.write_text(page + "\n".join(sections) + "</html>\n", encoding="utf-8")
    return path


def _next_commands(bundle: Path) -> str:
    return (
        "source .venv/bin/activate\n"
        "minivess data make MY_DATA --spacing 0.994 0.994 5 --unit um --validation SUBJECT   # MY_DATA/images, MY_DATA/labels\n"
        f"minivess train MY_DATA --out MY_MODEL --init {bundle / 'models' / 'model.safetensors'}\n"
        "minivess serve MY_STUDIES --bundle MY_MODEL                                          # then connect 3D Slicer"
    )


def _score_table(scores: Sequence[dict[str, Any]]) -> str:
    columns = ("stack", "kind", "when", "Dice", "clDice", "NSD", "HD95 (um)", "components off by")
    head = "<tr>" + "".join(f"<th>{name}</th>" for name in columns) + "</tr>"
    rows = []
    for stack in dict.fromkeys(row["stack"] for row in scores):
        for row in (r for r in scores if r["stack"] == stack):
            star = "*" if row["labelled"] else ""
            hd95 = "-" if row["hd95_um"] is None else f"{row['hd95_um']:.1f}"
            rows.append(
                f"<tr><td>{html.escape(stack)}{star}</td><td>{row['kind']}</td><td>{row['when']}</td><td>{row['dsc']:.3f}</td>"
                f"<td>{row['cldice']:.3f}</td><td>{row['nsd']:.3f}</td><td>{hd95}</td><td>{row['b0_error']}</td></tr>"
            )
    return f"<table>{head}{''.join(rows)}</table>"


def _timing_table(timings: Sequence[tuple[str, float]]) -> str:
    rows = "".join(f"<tr><td>{html.escape(title)}</td><td>{seconds:.0f} s</td></tr>" for title, seconds in timings)
    return f"<table>{rows}</table>"


def _places(places: Sequence[dict[str, Any]]) -> str:
    figures = []
    for number, place in enumerate(places, start=1):
        caption = (
            f"{number}. {place['kind']}: {place['reason']}. Expected: {place['expected_errors']:.1f} errors, "
            f"about {place['cost_s']:.0f} s"
        )
        figures.append(_figure(caption, Path(place["picture"]).read_bytes()))
    return f"<div class=places>{''.join(figures)}</div>"


def _figure(caption: str, picture: Rgb | bytes) -> str:
    data = base64.b64encode(picture if isinstance(picture, bytes) else png_bytes(picture)).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
