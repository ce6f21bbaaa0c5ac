"""What a user does at the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import slicer
from running import Lab, get


def connect(widget: Any, lab: Lab, pump: Callable[..., int], url: str = "", who: str = "ann") -> None:
    widget.ui.url.setText(url or lab.url)
    widget.ui.token.setText(lab.tokens.get(who, ""))
    widget.ui.connect.click()
    pump(lambda: not widget.worker.busy)
    assert widget.ui.image.count > 0, widget.ui.message.text


def open_image(widget: Any, name: str, pump: Callable[..., int]) -> None:
    widget.ui.image.setCurrentText(name)
    widget.ui.open.click()
    pump(lambda: widget.session.image.name == name and widget.session.image.item and not widget.worker.busy, 120)


def press(widget: Any, qtbot: Any, key: str) -> None:
    import qt

    qtbot.keyClick(widget.parent, getattr(qt.Qt, f"Key_{key}"))


def served(lab: Lab, path: str, folder: Path) -> np.ndarray:
    file = folder / "served.nii.gz"
    file.write_bytes(get(f"{lab.url}{path}", lab.tokens["ann"]))
    return np.asanyarray(nibabel.load(file).dataobj)


def draw(widget: Any, box: list[int]) -> None:
    """Change voxels of the segment as a brush does: without a message to the module."""
    scene = widget.session.image.scene
    mask = scene.mask()
    mask[box[4] : box[4] + 2, box[2] : box[2] + 4, box[0] : box[0] + 5] ^= True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.segmentation, "vessel", scene.image)


def reply(widget: Any, button: str, pump: Callable[..., int], timeout_s: float = 60.0) -> str:
    """Press a button and wait until its tasks are done. Return all messages that were shown meanwhile."""
    messages: list[str] = []
    show = widget.display.message
    widget.display.message = lambda text, bad=False: (messages.append(text), show(text, bad))
    getattr(widget.ui, button).click()
    pump(lambda: not widget.worker.busy, timeout_s)
    widget.display.message = show
    return " | ".join(messages)
