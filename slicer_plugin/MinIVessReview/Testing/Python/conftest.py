"""Slicer's core with stand-ins for its Qt half; a real MinIVess server in its own environment."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.application import start
from harness.slicer_python import load_module
from running import BIN, Lab

MODULE = Path(__file__).resolve().parents[2]
slicer = start()


@pytest.fixture(autouse=True)
def empty_scene() -> Iterator[None]:
    yield
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def pump(qapp: Any) -> Callable[..., int]:
    """Process the window's events until a condition holds. Return how often the window could have been drawn."""

    def run(until: Callable[[], Any], timeout_s: float = 60.0) -> int:
        import qt

        ticks = [0]
        timer = qt.QTimer()
        timer.setInterval(10)
        timer.connect("timeout()", lambda: ticks.__setitem__(0, ticks[0] + 1))
        timer.start()
        end = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < end, "it did not happen in time"
            qt.QApplication.processEvents()
            time.sleep(0.002)
        timer.stop()
        return ticks[0]

    return run


@pytest.fixture
def widget(qapp: Any) -> Iterator[Any]:
    """The module's panel, as Slicer makes it, in front."""
    slicer.app.userSettings().clear()
    shutil.rmtree(Path(slicer.app.slicerUserSettingsFilePath).parent / "MinIVessReview", ignore_errors=True)
    _module, panel = load_module(MODULE / "MinIVessReview.py")
    panel.parent.show()
    panel.enter()
    yield panel
    panel.cleanup()
    panel.parent.deleteLater()
    del panel
    gc.collect()  # here, and not in a thread


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The real server, in the environment of the project."""
    yield from _served(tmp_path_factory.mktemp("lab"), "ours")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The real server with one image, so that a training takes seconds."""
    yield from _served(tmp_path_factory.mktemp("training"), "training")


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """MONAI Label's own server with the same label app."""
    yield from _served(tmp_path_factory.mktemp("stock"), "stock")


def _served(folder: Path, kind: str) -> Iterator[Lab]:
    if not (BIN / "python").exists():
        pytest.skip("no .venv beside slicer_plugin: `make setup` installs the server's environment")
    found = Lab(folder, kind)
    yield found
    found.stop()
