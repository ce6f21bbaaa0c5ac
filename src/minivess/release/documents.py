"""The documents of a release, in the order of IEC 62304: what was required, what may go wrong, what shows it, what is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution
from importlib.resources import files
from pathlib import Path
from string import Template

from minivess.errors import OutputError
from minivess.release.requirements import TestResults, requirements, risks

#: Texts beside this file, with the clause of IEC 62304 that they answer.
_TEXTS = ("plan.md", "problem_resolution.md", "modifications.md")


def write_documents(
    folder: Path, packages: Sequence[Distribution], results: TestResults | None, about: Mapping[str, str]
) -> list[Path]:
    """Write the documents of a release as Markdown.

    Args:
        folder: Folder to write to.
        packages: What is shipped: software of unknown provenance (SOUP).
        results: Results of the tests; None where the release was made without.
        about: What the texts name: ``name``, ``version``, ``minivess``, ``weights_sha256``.

    Returns:
        Paths of the files.

    Raises:
        OutputError: When a file cannot be written.
    """
    texts = {name: Template(_text(name)).substitute(about) for name in _TEXTS}
    texts |= {
        "requirements.md": _requirements(results),
        "risks.md": _risks(results),
        "architecture.md": _architecture(),
        "soup.md": _soup(packages),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The documents cannot be written to {folder}: {error.strerror}.") from error
    return [folder / name for name in sorted(texts)]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table.

    Args:
        head: Names of the columns.
        rows: Cells; a vertical bar in one is escaped.
    """
    lines = [[str(cell).replace("|", r"\|") for cell in line] for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _requirements(results: TestResults | None) -> str:
    if results is None:
        note = (
            "No test results were given to `minivess release make --tests`: **nothing here is shown by a test of this release.**"
        )
    else:
        note = f"Tests of commit {results.commit or 'unknown'}, finished {results.finished_utc}."
    rows = [[name, text, _shown(name, results)] for name, text in requirements().items()]
    table = markdown_table(["id", "requirement", "tests"], rows)
    return f"# Requirements and the tests that show them (5.2, 5.7)\n\n{note}\n\n{table}"


def _shown(requirement: str, results: TestResults | None) -> str:
    if results is None:
        return "not shown"
    found = results.outcomes.get(requirement, {})
    return "<br>".join(f"`{test}` {outcome}" for test, outcome in sorted(found.items())) or "none"


def _risks(results: TestResults | None) -> str:
    rows = [
        [name, risk.hazard, risk.cause, risk.severity, ", ".join(risk.controls), _controlled(risk.controls, results)]
        for name, risk in risks().items()
    ]
    head = ["id", "hazard", "cause", "severity", "controls", "controls shown by tests"]
    note = (
        "Research software: a person reviews every result, and no decision about a patient rests on it. A use in patients needs\n"
        "a risk analysis of its own, with the probability of harm, which is not estimated here."
    )
    return f"# Risks and their controls (7; ISO 14971)\n\n{note}\n\n{markdown_table(head, rows)}"


def _controlled(controls: Sequence[str], results: TestResults | None) -> str:
    return f"{sum(results is not None and results.is_shown(name) for name in controls)} of {len(controls)}"


def _architecture() -> str:
    rows = [[f"`{name}`", purpose] for name, purpose in _rooms()]
    note = "One library, in which a package imports only packages below it; a check holds that in every test run."
    return f"# Architecture (5.3)\n\n{note}\n\n{markdown_table(['package', 'question that it answers'], rows)}"


def _rooms() -> Iterator[tuple[str, str]]:
    """Yield each package with the first line of its description; nothing is imported for it."""
    for folder in sorted(Path(str(files("minivess"))).iterdir()):
        if (folder / "__init__.py").is_file():
            text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
            yield folder.name, text.split("\n\n")[0].replace("\n", " ")


def _soup(packages: Sequence[Distribution]) -> str:
    rows = [[p.metadata["Name"], p.version, (p.metadata.get_all("Summary") or [""])[0]] for p in packages]
    rows.sort(key=lambda row: str(row[0]).lower())
    note = "Licences are in `licences.json`, hashes in `sbom.cdx.json`, known anomalies under `advisories` in `release.json`."
    return f"# Software of unknown provenance (5.3.3, 8.1.2)\n\n{note}\n\n{markdown_table(['name', 'version', 'purpose'], rows)}"


def _text(name: str) -> str:
    return files("minivess.release").joinpath("texts", name).read_text(encoding="utf-8")
