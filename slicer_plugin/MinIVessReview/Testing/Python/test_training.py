"""A training started from the panel, followed beside the review, stopped; the new model beside the old one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
import slicer
from running import Lab, get
from steps import connect, open_image, reply


def correct(widget: Any, lab: Lab) -> None:
    """Draw what is truly there into the frame: from what is only accepted a model learns nothing."""
    scene, (i0, i1, j0, j1, k0, k1) = widget.session.image.scene, widget.session.image.item["box"]
    truth = np.asanyarray(nibabel.load(lab.folder / "truth" / "training.nii.gz").dataobj).transpose(2, 1, 0)
    mask = scene.mask().astype(np.uint8)
    mask[k0:k1, j0:j1, i0:i1] = truth[k0:k1, j0:j1, i0:i1]
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, scene.segmentation, "vessel", scene.image)


def test_train_go_on_meanwhile_and_compare(widget: Any, training: Lab, pump: Callable[..., int]) -> None:
    connect(widget, training, pump, who="tom")
    open_image(widget, "training", pump)
    for _ in range(2):
        correct(widget, training)
        reply(widget, "accept", pump)
    told: list[tuple[str, float]] = []
    shown = widget.display.training
    widget.display.training = lambda words, share: (told.append((words, share)), shown(words, share))
    widget.ui.train.click()
    assert widget.ui.train.text == "Stop training"
    reply(widget, "accept", pump)  # the review goes on
    assert widget.training.running
    pump(lambda: not widget.training.running, 900)
    assert "The training is done." in widget.ui.trainingMessage.text, widget.ui.trainingMessage.text
    assert "Dice" in widget.ui.trainingMessage.text
    assert widget.ui.train.text == "Train"
    assert told[0][0] == "The training starts ..."
    said = reply(widget, "compare", pump, 120)
    assert "voxels differ from the mask before (blue outline)" in said
    segments = widget.session.image.scene.segmentation.GetSegmentation()
    assert segments.GetSegment("before training") is not None
    assert widget.session.image.item is None or widget.session.image.item["case"] == "training"


def test_a_training_is_stopped_on_the_server(widget: Any, training: Lab, pump: Callable[..., int]) -> None:
    connect(widget, training, pump, who="tom")
    widget.ui.train.click()
    pump(lambda: json.loads(get(f"{training.url}/train/", training.tokens["tom"]))["status"] == "RUNNING")
    widget.ui.train.click()
    pump(lambda: "stopped" in widget.ui.trainingMessage.text)
    pump(lambda: json.loads(get(f"{training.url}/train/", training.tokens["tom"]))["status"] == "STOPPED")


def test_who_may_not_train_is_told_so(widget: Any, training: Lab, pump: Callable[..., int]) -> None:
    connect(widget, training, pump)
    widget.ui.train.click()
    pump(lambda: not widget.training.running)
    assert "needs the role admin" in widget.ui.trainingMessage.text
