"""Draw the lineage of an image: what models learned, models, their proposals, revisions, and what learned from these."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from minivess.lineage.case import CaseLineage

_MOST_CHARACTERS = 32  # of a line in a box
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 230, 62, 70, 22, 20
_HEAD = " class='head'"
_ARROW_HEAD = (
    "<defs><marker id='end' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8' orient='auto'>"
    "<path d='M0 0L8 4L0 8'/></marker></defs>"
)
_STYLE = (
    "<style>svg{font:13px system-ui,sans-serif}rect{fill:#fff;stroke:#222}text{fill:#222}"
    "path{fill:none;stroke:#666}.head{font-weight:600}</style>"
)


@dataclass(frozen=True)
class _Node:
    """A box: its name for arrows, its column, and lines of text."""

    name: str
    column: int
    lines: tuple[str, ...]


def draw_lineage(lineage: CaseLineage) -> str:
    """Return the lineage as an SVG picture: arrows lead from what came first to what was made of it.

    Args:
        lineage: See :func:`minivess.lineage.trace_case`.
    """
    nodes, arrows = list(_nodes(lineage)), list(_arrows(lineage))
    rows: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for node in nodes:
        row = rows[node.column] = rows.get(node.column, -1) + 1
        places[node.name] = (_MARGIN + node.column * (_WIDTH + _GAP_X), _MARGIN + row * (_HEIGHT + _GAP_Y))
    width = max(x for x, _ in places.values()) + _WIDTH + _MARGIN
    height = max(y for _, y in places.values()) + _HEIGHT + _MARGIN
    parts = [_curve(places[a], places[b]) for a, b in arrows if a in places and b in places]
    parts += [_box(node, places[node.name]) for node in nodes]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' role='img'>"
        f"<title>{html.escape(lineage.case.id)}</title>{_STYLE}{_ARROW_HEAD}{''.join(parts)}</svg>"
    )


def _nodes(lineage: CaseLineage) -> Iterator[_Node]:
    proposing = dict.fromkeys(proposal.model for proposal in lineage.proposals)
    for sha256 in proposing:
        model = lineage.models.get(sha256)
        known = None if model is None else model.subjects
        learned = f"learned {len(known)} subjects" if known is not None else "not found here" if model is None else "not recorded"
        yield _Node(
            f"model {sha256}",
            0,
            (f"Model {sha256[:12]}", learned, f"from {model.trained_from[:12]}" if model and model.trained_from else ""),
        )
    yield _Node("image", 0, (f"Image {lineage.case.id}", f"subject {lineage.case.subject}", lineage.image_sha256[:12]))
    for proposal in lineage.proposals:
        yield _Node(
            f"queue {proposal.queue}", 1, (f"Queue {proposal.queue}", f"{proposal.regions} regions", proposal.answers_in_words)
        )
    for revision in lineage.revisions:
        made = "imported" if revision.info.imported else f"by {revision.actor}"
        yield _Node(
            f"revision {revision.number}",
            2,
            (f"Revision {revision.number}, {revision.state}", made, revision.time_utc[:16].replace("T", " ")),
        )
    for sha256, numbers in lineage.learned_by.items():
        what = f"learned revision {', '.join(map(str, numbers))}" if numbers else "learned answered regions"
        yield _Node(f"learner {sha256}", 3, (f"Model {sha256[:12]}", what, lineage.models[sha256].published_by))


def _arrows(lineage: CaseLineage) -> Iterator[tuple[str, str]]:
    for proposal in lineage.proposals:
        yield f"model {proposal.model}", f"queue {proposal.queue}"
        yield "image", f"queue {proposal.queue}"
    for revision in lineage.revisions:
        origin = lineage.proposal_before(revision)
        yield (f"queue {origin.queue}" if origin else "image"), f"revision {revision.number}"
        if revision.base is not None:
            yield f"revision {revision.base}", f"revision {revision.number}"
    for sha256, numbers in lineage.learned_by.items():
        for number in numbers:
            yield f"revision {number}", f"learner {sha256}"
        if not numbers and lineage.proposals:
            yield f"queue {lineage.proposals[-1].queue}", f"learner {sha256}"


def _box(node: _Node, place: tuple[int, int]) -> str:
    x, y = place
    lines = (
        f"<text x='{x + 10}' y='{y + 19 + 17 * n}'{_HEAD if n == 0 else ''}>{html.escape(_short(line))}</text>"
        for n, line in enumerate(node.lines)
    )
    title = html.escape(" · ".join(filter(None, node.lines)))
    frame = f"<rect x='{x}' y='{y}' width='{_WIDTH}' height='{_HEIGHT}' rx='5'/>"
    return f"<g><title>{title}</title>{frame}{''.join(lines)}</g>"


def _short(line: str) -> str:
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."


def _curve(start: tuple[int, int], end: tuple[int, int]) -> str:
    """Draw an arrow from the right edge of a box to the left one of another; within a column downwards."""
    if start[0] == end[0]:
        x, y0, y1 = start[0] + _WIDTH // 2, start[1] + _HEIGHT, end[1]
        return f"<path d='M{x} {y0}L{x} {y1}' marker-end='url(#end)'/>"
    x0, y0, x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2, end[0], end[1] + _HEIGHT // 2
    middle = (x0 + x1) // 2
    return f"<path d='M{x0} {y0}C{middle} {y0} {middle} {y1} {x1} {y1}' marker-end='url(#end)'/>"
