"""Slicer's core with stand-ins for its Qt half; a real MinIVess server in its own environment."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.application import start
from harness.slicer_python import load_module
from running import Lab

MODULE = Path(__file__).resolve().parents[2]
ROOT = MODULE.parents[1]
slicer = start()


@pytest.fixture(autouse=True)
def empty_scene() -> Iterator[None]:
    yield
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def pump(qapp: Any) -> Callable[..., int]:
    """Let the window live until something is true; gives how often it could have drawn itself."""

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
    _module, panel = load_module(MODULE / "MinIVessReview.py")
    panel.parent.show()
    panel.enter()
    yield panel
    panel.cleanup()
    panel.parent.deleteLater()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The real server, in the environment of the project, with a plain, a left-handed and an oblique image."""
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv beside slicer_plugin: `make setup` installs the server's environment")
    folder = tmp_path_factory.mktemp("lab")
    program = [str(python), str(Path(__file__).with_name("serve_lab.py")), str(folder)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    line = process.stdout.readline().decode().split()
    assert line[:1] == ["ready"], "the server did not start"
    yield Lab(folder, line[1], line[2:], process)
    process.terminate()
    process.wait(30)
    process.stdout.close()
