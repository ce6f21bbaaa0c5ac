"""The requirements of the software, the risks that they control, and the tests that show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

import minivess
from minivess.errors import InputError, LockoutError


@dataclass(frozen=True)
class Risk:
    """A risk, in the words of ISO 14971.

    Attributes:
        hazard: What may happen.
        cause: Why.
        severity: ``negligible``, ``minor`` or ``serious``.
        controls: Requirements that make it less likely.
    """

    hazard: str
    cause: str
    severity: str
    controls: tuple[str, ...]


@dataclass(frozen=True)
class TestResults:
    """Results of a test run, by requirement.

    Attributes:
        commit: Version of the source that was tested, and whether it had changes; empty when unknown.
        finished_utc: When the run ended.
        outcomes: Requirement -> test -> ``passed``, ``failed`` or ``skipped``.
    """

    commit: str
    finished_utc: str
    outcomes: dict[str, dict[str, str]]

    __test__ = False  # no test class for pytest

    def is_shown(self, requirement: str) -> bool:
        """Return whether a test of a requirement passed and none failed."""
        found = self.outcomes.get(requirement, {}).values()
        return "passed" in found and "failed" not in found


def requirements() -> dict[str, str]:
    """Return the requirements: id -> text."""
    return dict(_content()["requirements"])


def risks() -> dict[str, Risk]:
    """Return the risks: id -> risk."""
    return {name: Risk(**{**row, "controls": tuple(row["controls"])}) for name, row in _content()["risks"].items()}


def read_test_results(file: Path) -> TestResults:
    """Read the results that ``pytest --requirements FILE`` writes.

    Args:
        file: The JSON file.

    Raises:
        InputError: When the file is none of these.
        LockoutError: When they are of another version of the software, or a requirement has no passing test, or a failing one;
            all are named.
    """
    try:
        content: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        results = TestResults(str(content["commit"]), str(content["finished_utc"]), dict(content["outcomes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} holds no test results by requirement. Write it: pytest --requirements {file}") from error
    if content.get("version") != minivess.__version__:
        raise LockoutError(
            f"The test results are of minivess {content.get('version', '(not stated)')}, this is {minivess.__version__}. Run the "
            "tests of this version."
        )
    if missing := [f"{name} ({text})" for name, text in requirements().items() if not results.is_shown(name)]:
        raise LockoutError(f"No passing test shows: {'; '.join(missing)}. A release needs one for each requirement.")
    return results


def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(files("minivess.release").joinpath("requirements.yaml").read_text(encoding="utf-8"))
    return content
