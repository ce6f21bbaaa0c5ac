"""Which tests show which requirement: `@pytest.mark.requirement("R01")`; a run in which one has no test fails.

Where a program that a test needs is not installed, that is said; a release is refused with such results.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

import minivess

ROOT = Path(__file__).resolve().parents[1]
#: A test with several parameters, or with setup and teardown, is as bad as the worst of them.
ORDER = ("failed", "passed", "skipped")


class RequirementResults:
    """Collects the results of marked tests."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, str]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result of a test, from this process or from a worker; of setup and teardown only what is no success."""
        if report.when != "call" and report.outcome == "passed":
            return
        test = report.nodeid.partition("[")[0]
        for requirement in dict(report.user_properties).get("requirements", []):
            tests = self.outcomes[requirement]
            tests[test] = min(tests.get(test, report.outcome), report.outcome, key=ORDER.index)

    def without_test(self) -> list[str]:
        """Return the requirements that no test has run for."""
        from minivess.release.requirements import requirements  # imports MONAI

        return sorted(requirements().keys() - self.outcomes.keys())

    def skipped(self) -> list[str]:
        """Return the requirements whose tests were all skipped."""
        return sorted(name for name, tests in self.outcomes.items() if set(tests.values()) == {"skipped"})

    def write(self, path: Path) -> None:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        commit += " with changes" if commit and changed else ""
        content = {"commit": commit, "version": minivess.__version__, "finished_utc": finished, "outcomes": self.outcomes}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, sort_keys=True))
