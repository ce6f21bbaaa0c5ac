"""Options and output of the commands: text for users, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.errors import ConflictError, InputError, UsageError

if TYPE_CHECKING:
    from minivess.volume.units import Unit

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Spacing = Annotated[
    tuple[float, float, float] | None,
    typer.Option(help="Voxel size along x y z, for files that do not store it (TIFF, slices).", show_default=False),
]
Channel = Annotated[int | None, typer.Option(help="Channel of files with several, from 1.", show_default=False)]
TimePoint = Annotated[int | None, typer.Option("--time", help="Time point of files with several, from 1.", show_default=False)]
DepthAxis = Annotated[str, typer.Option(help="Axis that is the depth: Z, T or C; some programs save it as time or channel.")]
UnitOption = Annotated[
    str | None,
    typer.Option("--unit", help="Unit of the spacing, um or mm; by default that of the file, um for TIFF.", show_default=False),
]


def as_unit(text: str | None) -> Unit | None:
    """Return the unit of the option ``--unit``; None when it is not used.

    Raises:
        UsageError: When the text is not a unit.
    """
    from minivess.volume.units import parse_unit  # the readers of volumes take half a second: not for --help

    try:
        return None if text is None else parse_unit(text)
    except InputError as error:
        raise UsageError(f"--unit {text}: allowed are um and mm.") from error


def check_new_file(path: Path | None, suffix: str) -> None:
    """Check that a file can be written without replacing another one.

    Args:
        path: The file; None for none.
        suffix: Suffix that it needs.

    Raises:
        UsageError: When it has another suffix.
        ConflictError: When it exists.
    """
    if path is not None and path.suffix.lower() != suffix:
        raise UsageError(f"{path} is written as {suffix}: give it that suffix.")
    if path is not None and path.exists():
        raise ConflictError(f"{path} exists. Nothing was changed. Choose another name, or remove it.")


def check_out_folder(out: Path) -> None:
    """Check that what is to become a folder is no file.

    Raises:
        UsageError: When it is one.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and the results are a folder. Choose another folder.")


def emit(content: Any, *, as_json: bool, text: str) -> None:
    """Print the result of a command on standard output.

    Args:
        content: Result as plain values, for JSON.
        as_json: Whether to print JSON.
        text: Result as text.
    """
    typer.echo(json.dumps(content, indent=2) if as_json else text)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with the same keys as a text table with a header."""
    if not rows:
        return "(nothing)"
    head = list(rows[0])
    cells = [head, *([_cell(row[key]) for key in head] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"
    if isinstance(value, list | tuple):
        return "x".join(_cell(v) for v in value)
    return "-" if value is None else str(value)
