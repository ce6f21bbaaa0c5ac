"""What all tests share: the real data where it is there, a small real bundle, and one line on what was left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from faults.rows import Report
    from requirement_results import RequirementResults

from minivess.process_setup import prepare_process

prepare_process()  # before anything imports MONAI

FAULTS: pytest.StashKey[Report] = pytest.StashKey()
REQUIREMENTS: pytest.StashKey[RequirementResults] = pytest.StashKey()
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("MINIVESS_SHARED_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real volumes; a user's machine does not have it."""
    if not SHARED.is_dir():
        pytest.skip("no shared data: set MINIVESS_SHARED_DATA to run tests on real volumes")
    return SHARED


@pytest.fixture(scope="session")
def segresnet() -> Path:
    """The bundle as it is shipped, without weights."""
    return ROOT / "bundles" / "segresnet"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, segresnet: Path) -> Path:
    """A copy of the bundle that finds vessels without any training."""
    from untrained import untrained_bundle

    return untrained_bundle(segresnet, tmp_path_factory.mktemp("bundle") / "segresnet")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small synthetic stacks with labels, split by subject."""
    from minivess.datasets import make_dataset
    from minivess.synth import make_sample
    from minivess.volume import write_volume

    folder = tmp_path_factory.mktemp("dataset")
    for index in range(4):
        sample = make_sample("capillary", index, shape=(96, 96, 8))
        write_volume(sample.image, folder / "images" / f"stack{index}.nii.gz")
        write_volume(sample.mask, folder / "labels" / f"stack{index}.nii.gz")
    make_dataset(folder, validation=["stack2"], test=["stack3"])
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the files with the table of faults and with the results by requirement."""
    parser.addoption("--faults-report", type=Path, help="write which bad inputs were shown, and the results")
    parser.addoption("--requirements", type=Path, help="write which requirements were shown; fail where one was not")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the results of tests that show a row of that table, or a requirement."""
    from faults.rows import Report
    from requirement_results import RequirementResults

    config.stash[FAULTS] = Report()
    config.pluginmanager.register(config.stash[FAULTS], "faults")
    config.stash[REQUIREMENTS] = RequirementResults()
    config.pluginmanager.register(config.stash[REQUIREMENTS], "requirements")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the result of such a test."""
    report = yield
    if report.when == "call":
        rows = [row for mark in item.iter_markers("row") for row in mark.args]
        report.user_properties.append(("rows", rows))  # this travels from a worker of xdist to the process that writes the table
    shown = [name for mark in item.iter_markers("requirement") for name in mark.args]
    report.user_properties.append(("requirements", shown))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table and the results where they are asked for; a requirement that no passing test shows fails the run."""
    path = session.config.getoption("--faults-report")
    if path and not hasattr(session.config, "workerinput"):
        session.config.stash[FAULTS].write(path)
    path = session.config.getoption("--requirements")
    if path and not hasattr(session.config, "workerinput"):
        results = session.config.stash[REQUIREMENTS]
        results.write(path)
        if results.without_test():
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report in one line what was skipped, and why."""
    if terminalreporter.config.getoption("--requirements"):
        results = terminalreporter.config.stash[REQUIREMENTS]
        for problem, names in (("no test shows", results.without_test()), ("skipped here", results.skipped())):
            if names:
                terminalreporter.write_line(f"requirements, {problem}: {', '.join(names)}")
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    deselected = len(terminalreporter.stats.get("deselected", []))
    if deselected:
        reasons["not chosen by -k" if terminalreporter.config.option.keyword else "slow, see `make test-all`"] = deselected
    if reasons:
        listed = "; ".join(f"{count} {reason.removeprefix('Skipped: ')}" for reason, count in reasons.items())
        terminalreporter.write_line(f"left out: {listed}")
