"""What a person does at the panel."""

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
    pump(lambda: widget.review.case.name == name and widget.review.place and not widget.worker.busy, 120)


def press(widget: Any, qtbot: Any, key: str) -> None:
    import qt

    qtbot.keyClick(widget.parent, getattr(qt.Qt, f"Key_{key}"))


def served(lab: Lab, path: str, folder: Path) -> np.ndarray:
    file = folder / "served.nii.gz"
    file.write_bytes(get(f"{lab.url}{path}", lab.tokens["ann"]))
    return np.asanyarray(nibabel.load(file).dataobj)


def draw(widget: Any, box: list[int]) -> None:
    """What a brush does: voxels of the segment change, and nobody is told."""
    scene = widget.review.case.scene
    mask = scene.mask()
    mask[box[4] : box[4] + 2, box[2] : box[2] + 4, box[0] : box[0] + 5] ^= True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.segmentation, "vessel", scene.image)


def reply(widget: Any, button: str, pump: Callable[..., int], timeout_s: float = 60.0) -> str:
    """Press a button, wait for what comes of it; gives all that was said meanwhile."""
    said: list[str] = []
    shown = widget.message
    widget.message = lambda text, bad=False: (said.append(text), shown(text, bad))
    getattr(widget.ui, button).click()
    pump(lambda: not widget.worker.busy, timeout_s)
    widget.message = shown
    return " | ".join(said)
