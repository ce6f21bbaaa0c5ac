"""MONAI Label's own server, which has no queue: segment, correct, submit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from running import Lab, get
from steps import connect, draw, reply


def test_segment_correct_and_submit(widget: Any, stock: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, stock, pump)
    assert "has no queue" in widget.ui.message.text
    widget.ui.open_next.click()
    pump(lambda: widget.session.image.name == "stock" and not widget.worker.busy, 120)
    assert not widget.ui.accept.enabled
    assert not widget.ui.next.enabled
    scene = widget.session.image.scene
    assert scene.mask().any()
    widget.ui.correct.click()
    assert widget.display.editor_node.GetActiveEffectName() == "Paint"
    draw(widget, [20, 40, 30, 50, 4, 8])
    drawn = scene.mask()
    said = reply(widget, "open", pump, 120)  # before it was submitted
    assert "was not submitted. It is saved in" in said
    (file,) = (widget.session.folder / "labels").glob("stock-*.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(file).dataobj), drawn.transpose(2, 1, 0))
    draw(widget, [20, 40, 30, 50, 4, 8])
    drawn = scene.mask()
    assert "Submitted" in reply(widget, "submit", pump)
    label = tmp_path / "label.nii.gz"
    label.write_bytes(get(f"{stock.url}/datastore/label?label=stock&tag=final", ""))
    sent, image = nibabel.load(label), nibabel.load(stock.folder / "studies" / "stock.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(sent.dataobj), drawn.transpose(2, 1, 0))
    np.testing.assert_allclose(sent.affine, image.affine, atol=1e-4)
