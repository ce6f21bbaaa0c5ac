"""The panel by its own buttons and keys, against the real server: thirty places, strokes, prompts, submission; exact on both sides."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import slicer
from running import Lab, Relay, get, post


def connect(widget: Any, lab: Lab, pump: Callable[..., int], url: str = "") -> None:
    widget.ui.url.setText(url or lab.url)
    widget.ui.token.setText(lab.token)
    widget.ui.connect.click()
    pump(lambda: widget.ui.image.count > 0 and not widget.worker.busy)


def open_image(widget: Any, name: str, pump: Callable[..., int]) -> None:
    widget.ui.image.setCurrentText(name)
    widget.ui.open.click()
    pump(lambda: widget.review.case.name == name and widget.review.place and not widget.worker.busy, 120)


def press(widget: Any, qtbot: Any, key: str) -> None:
    import qt

    qtbot.keyClick(widget.parent, getattr(qt.Qt, f"Key_{key}"))


def served(lab: Lab, path: str, folder: Path) -> np.ndarray:
    file = folder / "served.nii.gz"
    file.write_bytes(get(f"{lab.url}{path}", lab.token))
    return np.asanyarray(nibabel.load(file).dataobj)


def draw(widget: Any, box: list[int]) -> None:
    """What a brush does: voxels of the segment change, and nobody is told."""
    scene = widget.review.case.scene
    mask = scene.mask()
    mask[box[4] : box[4] + 2, box[2] : box[2] + 4, box[0] : box[0] + 5] ^= True
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), scene.segmentation, "vessel", scene.image)


@pytest.mark.parametrize("image", ["plain", "mirrored", "oblique"])
def test_thirty_places_and_a_label_that_is_equal_on_both_sides(
    widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any, tmp_path: Path, image: str
) -> None:
    connect(widget, lab, pump)
    open_image(widget, image, pump)
    widget.parent.activateWindow()
    seen: list[str] = []
    while widget.review.place and len(seen) < 10:
        place = widget.review.place
        seen.append(place["id"])
        if len(seen) % 3 == 1:
            press(widget, qtbot, "X")
            draw(widget, place["box"])
        drawn = widget.review.case.scene.mask()
        press(widget, qtbot, "A")
        pump(lambda: not widget.worker.busy and (widget.review.place or {}).get("id") not in seen)
        i0, i1, j0, j1, k0, k1 = place["box"]
        kept = served(lab, f"/review/images/{image}/mask?format=nii.gz", tmp_path)
        np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
    assert len(seen) == len(set(seen)) == 10
    assert widget.ui.progress.text.startswith("10 of ")
    np.testing.assert_array_equal(
        widget.review.case.scene.mask().transpose(2, 1, 0),
        served(lab, f"/review/images/{image}/draft/mask?format=nii.gz", tmp_path),
    )
    widget.ui.submit.click()
    pump(lambda: not widget.worker.busy)
    assert "Submitted as revision" in widget.ui.message.text
    label = tmp_path / "label.nii.gz"
    label.write_bytes(get(f"{lab.url}/datastore/label?label={image}&tag=final", lab.token))
    sent, original = nibabel.load(label), nibabel.load(lab.folder / "studies" / f"{image}.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(sent.dataobj), widget.review.case.scene.mask().transpose(2, 1, 0))
    np.testing.assert_allclose(sent.affine, original.affine, atol=1e-4)


def test_a_path_by_two_clicks_undo_and_redo(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "oblique", pump)
    scene, place = widget.review.case.scene, widget.review.place
    before = scene.mask()
    i0, i1, j0, j1, k0, k1 = place["box"]
    matrix = np.array(widget.review.case.standing["affine_ras"])
    widget.ui.tool_path.click()
    for voxel in ((i0 + 2, (j0 + j1) // 2, (k0 + k1) // 2), (i1 - 3, (j0 + j1) // 2, (k0 + k1) // 2)):
        widget._clicks.AddControlPointWorld(*(matrix @ [*voxel, 1])[:3])
    pump(lambda: not widget.worker.busy)
    traced = scene.mask()
    assert "path:" in widget.ui.message.text, widget.ui.message.text
    assert (traced != before).any()
    np.testing.assert_array_equal(
        traced.transpose(2, 1, 0), served(lab, "/review/images/oblique/draft/mask?format=nii.gz", tmp_path)
    )
    widget.ui.undo.click()
    pump(lambda: not widget.worker.busy)
    np.testing.assert_array_equal(scene.mask(), before)
    widget.ui.redo.click()
    pump(lambda: not widget.worker.busy)
    np.testing.assert_array_equal(scene.mask(), traced)


def test_drawing_outside_the_place_is_put_back(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "plain", pump)
    scene, (i0, i1, j0, j1, k0, k1) = widget.review.case.scene, widget.review.place["box"]
    before = scene.mask()
    slicer.util.updateSegmentBinaryLabelmapFromArray((~before).astype(np.uint8), scene.segmentation, "vessel", scene.image)
    stroke = scene.strokes(widget.review.place["box"])
    after = scene.mask()
    assert stroke is not None
    inside = np.zeros(before.shape, bool)
    inside[k0:k1, j0:j1, i0:i1] = True
    np.testing.assert_array_equal(after[~inside], before[~inside])
    np.testing.assert_array_equal(after[inside], ~before[inside])


def test_a_scene_closed_in_the_middle_of_a_request(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    widget.ui.image.setCurrentText("plain")
    widget.ui.open.click()
    assert widget.worker.busy
    slicer.mrmlScene.Clear(0)
    pump(lambda: not widget.worker.busy)
    assert widget.review.case.name == ""
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not widget.ui.accept.enabled
    open_image(widget, "plain", pump)
    assert widget.ui.accept.enabled


def test_a_wrong_token_and_no_server_are_told_in_words(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    widget.ui.url.setText(lab.url)
    widget.ui.token.setText("wrong")
    widget.ui.connect.click()
    pump(lambda: "token is not valid" in widget.ui.message.text)
    widget.ui.url.setText("http://127.0.0.1:9")
    widget.ui.connect.click()
    pump(lambda: "does not answer" in widget.ui.message.text)


def test_a_server_that_goes_away_costs_nothing(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    relay = Relay(lab.url)
    connect(widget, lab, pump, relay.url)
    open_image(widget, "mirrored", pump)
    place = widget.review.place
    relay.cut()
    draw(widget, place["box"])
    drawn = widget.review.case.scene.mask()
    widget.ui.accept.click()
    pump(lambda: not widget.worker.busy)
    assert "Your work is kept here" in widget.ui.message.text
    assert len(widget.review.outbox) == 2
    relay.mend()
    widget.ui.next.click()
    pump(lambda: widget.review.place and not widget.worker.busy)
    assert len(widget.review.outbox) == 0
    i0, i1, j0, j1, k0, k1 = place["box"]
    kept = served(lab, "/review/images/mirrored/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
    relay.cut()


def test_somebody_else_was_faster(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "oblique", pump)
    place = widget.review.place
    post(f"{lab.url}/review/places/{place['id']}/release", lab.token)
    assert post(f"{lab.url}/review/next?image=oblique", lab.other_token)["place"]["id"] == place["id"]
    post(f"{lab.url}/review/places/{place['id']}/answer", lab.other_token, verdict="accepted")
    said: list[str] = []
    widget.review.show.message, shown = lambda text, bad=False: (said.append(text), shown(text, bad)), widget.review.show.message
    widget.ui.accept.click()
    pump(lambda: not widget.worker.busy and widget.review.place and widget.review.place["id"] != place["id"], 120)
    assert any("answered by bob" in text for text in said)


def test_what_was_drawn_survives_the_wrong_key_and_a_closed_scene(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "plain", pump)
    place = widget.review.place
    draw(widget, place["box"])
    drawn = widget.review.case.scene.mask()
    widget.ui.next.click()  # before A
    pump(lambda: not widget.worker.busy)
    assert widget.review.place["id"] == place["id"]
    np.testing.assert_array_equal(widget.review.case.scene.mask(), drawn)
    np.testing.assert_array_equal(
        drawn.transpose(2, 1, 0), served(lab, "/review/images/plain/draft/mask?format=nii.gz", tmp_path)
    )
    widget.worker.submit(lambda _: time.sleep(0.5), lambda _: None, lambda _: None)
    widget.ui.accept.click()  # waits behind it
    slicer.mrmlScene.Clear(0)
    pump(lambda: not widget.worker.busy)
    open_image(widget, "plain", pump)  # sends what was kept
    i0, i1, j0, j1, k0, k1 = place["box"]
    kept = served(lab, "/review/images/plain/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
