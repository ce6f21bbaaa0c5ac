"""List the texts of the page in one file, ``page/texts/en.json``, for translation; with ``--check``, say whether it is complete.

    python tools/page_texts.py            # after a text was added or changed
    cp en.json de.json                    # a language: translate the right-hand sides; its code into <meta name="languages">

Texts are the templates ``t`...` `` of the scripts, and the texts and attributes of index.html. Words that the server sends (kinds
and states) are listed, too; its sentences stay in English.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

from minivess.jobs.job import JobState
from minivess.store.queue_item import QueueState
from minivess.store.region import RegionKind

PAGE = Path(__file__).resolve().parents[1] / "src" / "minivess" / "server" / "page"
FILE = PAGE / "texts" / "en.json"
ATTRIBUTES = ("title", "aria-label", "placeholder")
_IN_WORDS = {"fixed": "corrected", "leased": "reserved"}  # as regions.js has them
WORDS = {_IN_WORDS.get(word, word) for kinds in (RegionKind, QueueState, JobState) for word in get_args(kinds)}


def of_script(script: str) -> Iterator[str]:
    """Yield the keys of the templates of a script: values are {0}, {1} ..."""
    for match in re.finditer(r"(?<![\w$])t`", script):
        yield _key(script, match.end())


def _key(script: str, at: int) -> str:
    """Return the key of the template whose text begins at a place."""
    key, values = "", 0
    while script[at] != "`":
        if script.startswith("${", at):
            at, key, values = _after_value(script, at + 2), f"{key}{{{values}}}", values + 1
        else:
            key, at = key + script[at], at + 1
    return key


def _after_value(script: str, at: int) -> int:
    """Return the place after a value, which may hold templates itself."""
    depth = 1
    while depth:
        if script[at] == "`":
            at += 1
            while script[at] != "`":
                at = _after_value(script, at + 2) if script.startswith("${", at) else at + 1
        depth += {"{": 1, "}": -1}.get(script[at], 0)
        at += 1
    return at


class _Texts(HTMLParser):
    """The texts of a page, and the attributes that people read or hear."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped += tag in ("title", "kbd")
        self.found += [value for name, value in attrs if name in ATTRIBUTES and value]

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("title", "kbd")

    def handle_data(self, data: str) -> None:
        if not self._skipped and re.search(r"[A-Za-z]{2}", data):
            self.found.append(data.strip())


def all_texts() -> list[str]:
    """Return every text once, sorted."""
    page = _Texts()
    page.feed((PAGE / "index.html").read_text())
    scripts = [text for file in PAGE.glob("*.js") for text in of_script(file.read_text())]
    return sorted({*page.found, *scripts, *WORDS})


def main() -> int:
    content = json.dumps({text: text for text in all_texts()}, indent=1, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(content)
        return 0
    if FILE.read_text() != content:
        print(f"{FILE.name} does not list the texts of the page. Run: python tools/page_texts.py", file=sys.stderr)
        return 1
    print("the texts of the page are listed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
