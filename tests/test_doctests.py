"""The examples in docstrings run and give what they show; most rooms of the library have one."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
EXAMPLES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
ROOMS = {
    "map_package",
    "volume",
    "synth",
    "metrics",
    "models",
    "store",
    "dicom",
    "uncertainty",
    "evaluate",
    "train",
    "review",
    "jobs",
    "server",
}


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_of(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0


def test_each_room_has_an_example() -> None:
    assert {name.split(".")[1] for name in EXAMPLES if "." in name} >= ROOMS
