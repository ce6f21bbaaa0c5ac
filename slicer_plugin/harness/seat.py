"""A scripted annotator at the panel: milliseconds from *Accept* until the next region is drawn in all views, as JSON.

.venv-slicer/bin/python slicer_plugin/harness/seat.py URL TOKEN IMAGE REGIONS
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PLUGIN), str(PLUGIN / "MinIVessReview")]

from harness.application import start
from harness.slicer_python import load_module

LOOK_S = 0.7


def main(url: str, token: str, image: str, regions: int) -> list[float]:
    slicer = start()
    _module, panel = load_module(PLUGIN / "MinIVessReview" / "MinIVessReview.py")

    def until(condition: Callable[[], object]) -> None:
        while not condition():
            slicer.app.processEvents()
            time.sleep(0.001)

    panel.ui.url.setText(url)
    panel.ui.token.setText(token)
    panel.ui.connect.click()
    until(lambda: panel.ui.image.count)
    panel.ui.image.setCurrentText(image)
    panel.ui.open.click()
    until(lambda: panel.session.image.item and not panel.worker.busy)
    found = []
    views = [slicer.app.layoutManager().sliceWidget(name) for name in slicer.app.layoutManager().sliceViewNames()]
    for _ in range(regions):
        before, begun = panel.session.image.item["id"], time.perf_counter()
        panel.ui.accept.click()
        until(lambda before=before: panel.session.image.item and panel.session.image.item["id"] != before)
        for view in views:
            view.render()
        found.append(1000 * (time.perf_counter() - begun))
        end = time.monotonic() + LOOK_S
        until(lambda end=end: time.monotonic() > end)
    panel.cleanup()
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4], int(sys.argv[4]))), flush=True)
    os._exit(0)  # Qt and VTK argue about who goes first
