"""HTML pages that carry their own style and pictures, readable at any width, in light and dark."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from minivess.paths import atomic_file
from minivess.pictures import Rgb, png_bytes

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
img { width: 100%; image-rendering: auto; border-radius: 4px; }
.regions { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); gap: 0 1rem; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; opacity: .8; }
.wide { overflow-x: auto; width: max-content; min-width: 100%; max-width: calc(100vw - 2rem); }
.wide { position: relative; left: 50%; translate: -50%; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .3rem .8rem; text-align: left; }
th { border-bottom: 2px solid; } .number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { background: #8882; border-radius: 4px; padding: .1rem .3rem; } pre { padding: .8rem; overflow: auto; }
"""

#: A number or none, its interval, and how many subjects it is of.
_INTERVAL = re.compile(r"^(-|-?[\d.]+( \(-?[\d.]+\sto\s-?[\d.]+\))?)(, \d+ of \d+ subjects)?$")


def write_page(path: Path, title: str, sections: Sequence[str]) -> Path:
    """Write a page.

    Args:
        path: File to write.
        title: Title of the page, plain text.
        sections: Parts of the body, HTML.

    Returns:
        The path.

    Raises:
        OutputError: When the file cannot be written.
    """
    head = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    with atomic_file(path) as temporary:
        temporary.write_text(head + "\n".join(sections) + "</html>\n", encoding="utf-8")
    return path


def html_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table, which scrolls where it is too wide.

    Args:
        head: Names of the columns, plain text.
        rows: Cells, plain text or numbers; a number gets three decimals, from 10 on one; None a dash.
    """
    numbers = [all(_is_number(row[column]) for row in rows) for column in range(len(head))]
    marks = [" class=number" if number else "" for number in numbers]
    first = "".join(f"<th{mark}>{html.escape(name)}</th>" for name, mark in zip(head, marks, strict=True))
    body = ""
    for row in rows:
        cells = (f"<td{mark}>{html.escape(_text(cell))}</td>" for cell, mark in zip(row, marks, strict=True))
        body += f"<tr>{''.join(cells)}</tr>"
    return f"<div class=wide><table><tr>{first}</tr>{body}</table></div>"


def html_figure(caption: str, picture: Rgb | bytes) -> str:
    """Return a picture with its caption.

    Args:
        caption: Plain text.
        picture: (row, column, 3) uint8, or the content of a PNG file.
    """
    data = base64.b64encode(picture if isinstance(picture, bytes) else png_bytes(picture)).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _is_number(cell: object) -> bool:
    return cell is None or isinstance(cell, float | int) or (isinstance(cell, str) and _INTERVAL.match(cell) is not None)


def _text(cell: object) -> str:
    if cell is None or cell != cell:  # NaN
        return "-"
    return number_text(cell) if isinstance(cell, float) else str(cell)


def number_text(value: float) -> str:
    """Return a number with three decimals, from 10 on with one.

    Example:
        >>> number_text(0.8154), number_text(-1265.0)
        ('0.815', '-1265.0')
    """
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
