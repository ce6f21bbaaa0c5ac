"""How a command answers: a table or a sentence for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from minivess.errors import UsageError
from minivess.volume.model import Unit

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for scripts.")]
Spacing = Annotated[
    tuple[float, float, float] | None,
    typer.Option(help="Voxel size along x y z, for files that do not state it (TIFF, slices).", show_default=False),
]
UnitOption = Annotated[
    str | None, typer.Option("--unit", help="What the spacing means: um or mm. Wins over the file.", show_default=False)
]


def as_unit(text: str | None) -> Unit | None:
    """Read a unit from the command line.

    Raises:
        UsageError: When it is none.
    """
    if text is None:
        return None
    if text == "um":
        return "um"
    if text == "mm":
        return "mm"
    raise UsageError(f"--unit {text}: allowed are um and mm.")


def answer(content: Any, *, as_json: bool, text: str) -> None:
    """Print the answer of a command on standard output."""
    typer.echo(json.dumps(content, indent=2) if as_json else text)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out rows of equal keys in columns."""
    if not rows:
        return "(nothing)"
    head = list(rows[0])
    cells = [head, *([_cell(row[key]) for key in head] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple):
        return "x".join(_cell(v) for v in value)
    return "-" if value is None else str(value)
