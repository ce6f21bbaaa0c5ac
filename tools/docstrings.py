"""Check docstrings of the library: they begin with a plain verb, and name every parameter where there are two or more.

    python tools/docstrings.py

Ruff checks that docstrings exist and have Google's form; these two rules it does not have. Commands (their help is Typer's) and
HTTP endpoints (their help is OpenAPI's) need no ``Args:``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src/minivess", "maps", "monailabel_app", "slicer_plugin/MinIVessReview/MinIVessReviewLib")
#: They say nothing of what a function does.
VAGUE = ("Give", "Tell", "Say", "Take", "Let", "Ask", "Put", "Look")
WITHOUT_ARGS = ("src/minivess/cli/", "src/minivess/server/routes/", "slicer_plugin/")


def functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Public functions of a module and of its public classes, and whether they are methods."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from ((child, True) for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, False


def problems(path: Path) -> Iterator[str]:
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = (ast.get_docstring(node) or "").split(" ")[0]
            if first in VAGUE:
                yield f"{name}:{node.lineno} {node.name}: begin with a plain verb (Return, Compute, ...), not {first}"
    if name.startswith(WITHOUT_ARGS):
        return
    for node, is_method in functions(tree):
        if node.name.startswith("_") and node.name not in ("__init__", "__call__"):
            continue
        arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
        arguments = arguments[1:] if is_method and not static else arguments
        text = ast.get_docstring(node) or ""
        missing = [a for a in arguments if f"{a}:" not in text]
        if len(arguments) >= 2 and missing:
            yield f"{name}:{node.lineno} {node.name}: Args: lacks {', '.join(missing)}"


def main() -> int:
    """Print what is wrong."""
    found = [line for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) for line in problems(path)]
    print("\n".join(found) or "docstrings are plain and complete")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
