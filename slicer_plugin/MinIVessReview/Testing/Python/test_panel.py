"""The panel by its own buttons and keys, against the real server: thirty regions, strokes, prompts, submission; exact on both sides."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import slicer
from running import Lab, get
from steps import connect, draw, open_image, press, reply, served


@pytest.mark.parametrize("image", ["plain", "mirrored", "oblique"])
def test_thirty_regions_and_a_label_that_is_equal_on_both_sides(
    widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any, tmp_path: Path, image: str
) -> None:
    connect(widget, lab, pump)
    open_image(widget, image, pump)
    widget.parent.activateWindow()
    seen: list[str] = []
    kept = widget.session.image.scene.mask().transpose(2, 1, 0).copy()
    answered = np.zeros(kept.shape, bool)
    while widget.session.image.item and len(seen) < 10:
        item = widget.session.image.item
        seen.append(item["id"])
        if len(seen) % 3 == 1:
            press(widget, qtbot, "F")
            draw(widget, item["box"])
        drawn = widget.session.image.scene.mask().transpose(2, 1, 0)
        expected = np.where(answered, kept, drawn)  # regions may overlap, and what was accepted stays
        press(widget, qtbot, "A")
        pump(lambda: not widget.worker.busy and (widget.session.image.item or {}).get("id") not in seen)
        i0, i1, j0, j1, k0, k1 = item["box"]
        region = slice(i0, i1), slice(j0, j1), slice(k0, k1)
        kept = served(lab, f"/review/images/{image}/mask?format=nii.gz", tmp_path)
        np.testing.assert_array_equal(kept[region], expected[region])
        answered[region] = True
    assert len(seen) == len(set(seen)) == 10
    assert widget.ui.progress.text.startswith("10 of ")
    if image == "plain" and os.environ.get("MINIVESS_PICTURES"):
        folder = Path(os.environ["MINIVESS_PICTURES"])
        widget.parent.resize(420, 900)
        widget.parent.grab().save(str(folder / "panel.png"))
        slicer.app.layoutManager().save(folder / "review.png")
    np.testing.assert_array_equal(
        widget.session.image.scene.mask().transpose(2, 1, 0),
        served(lab, f"/review/images/{image}/draft/mask?format=nii.gz", tmp_path),
    )
    widget.ui.submit.click()
    pump(lambda: not widget.worker.busy)
    assert "Submitted as revision" in widget.ui.message.text
    label = tmp_path / "label.nii.gz"
    label.write_bytes(get(f"{lab.url}/datastore/label?label={image}&tag=final", lab.tokens["ann"]))
    sent, original = nibabel.load(label), nibabel.load(lab.folder / "studies" / f"{image}.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(sent.dataobj), widget.session.image.scene.mask().transpose(2, 1, 0))
    np.testing.assert_allclose(sent.affine, original.affine, atol=1e-4)


def test_a_path_by_two_clicks_undo_and_redo(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "path", pump)
    scene, item = widget.session.image.scene, widget.session.image.item
    before = scene.mask()
    i0, i1, j0, j1, k0, k1 = item["box"]
    matrix = np.array(widget.session.image.status["affine_ras"])
    widget.ui.tool_path.click()
    for voxel in ((i0 + 2, (j0 + j1) // 2, (k0 + k1) // 2), (i1 - 3, (j0 + j1) // 2, (k0 + k1) // 2)):
        widget.clicks.points.AddControlPointWorld(*(matrix @ [*voxel, 1])[:3])
    pump(lambda: not widget.worker.busy)
    traced = scene.mask()
    assert "path:" in widget.ui.message.text, widget.ui.message.text
    assert (traced != before).any()
    np.testing.assert_array_equal(
        traced.transpose(2, 1, 0), served(lab, "/review/images/path/draft/mask?format=nii.gz", tmp_path)
    )
    widget.ui.undo.click()
    pump(lambda: not widget.worker.busy)
    np.testing.assert_array_equal(scene.mask(), before)
    widget.ui.redo.click()
    pump(lambda: not widget.worker.busy)
    np.testing.assert_array_equal(scene.mask(), traced)


def test_an_answer_waits_for_what_a_tool_does(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "quick", pump)
    item = widget.session.image.item
    i0, i1, j0, j1, k0, k1 = item["box"]
    matrix = np.array(widget.session.image.status["affine_ras"])
    widget.ui.tool_path.click()
    for voxel in ((i0 + 2, (j0 + j1) // 2, (k0 + k1) // 2), (i1 - 3, (j0 + j1) // 2, (k0 + k1) // 2)):
        widget.clicks.points.AddControlPointWorld(*(matrix @ [*voxel, 1])[:3])
    widget.ui.accept.click()  # the path is not back yet
    widget.ui.accept.click()  # a second press is not a second answer
    pump(lambda: not widget.worker.busy)
    assert [(one["id"], one["state"]) for one in widget.session.image.items if one["state"] in ("accepted", "fixed")] == [
        (item["id"], "fixed")
    ]
    shown = widget.session.image.scene.mask().transpose(2, 1, 0)
    np.testing.assert_array_equal(shown, served(lab, "/review/images/quick/mask?format=nii.gz", tmp_path))


def test_what_was_painted_is_undone_and_redone(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "quick", pump)
    before = widget.session.image.scene.mask()
    draw(widget, widget.session.image.item["box"])
    drawn = widget.session.image.scene.mask()
    reply(widget, "undo", pump)
    np.testing.assert_array_equal(widget.session.image.scene.mask(), before)
    assert "Redone: stroke" in reply(widget, "redo", pump)
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)
    reply(widget, "undo", pump)


def test_a_note_stays_with_its_region(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "quick", pump)
    first = widget.session.image.item
    widget.ui.note.setText("look here again")
    other = next(item for item in widget.session.image.items if item["state"] == "pending")
    widget.review.choose(other)
    pump(lambda: not widget.worker.busy)
    assert widget.ui.note.text == ""
    widget.review.choose(first)
    pump(lambda: not widget.worker.busy)
    assert widget.ui.note.text == "look here again"
    widget.ui.note.setText("")


def test_an_answer_that_was_withdrawn_elsewhere_does_not_stop_undo(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "quick", pump)
    answered = []
    for _ in range(2):
        answered.append(widget.session.image.item["id"])
        reply(widget, "accept", pump)
    widget.session.tasks.client.undo_answer(answered[1])  # as on the page
    assert "no answer" in reply(widget, "undo", pump)
    assert "last answer" in reply(widget, "undo", pump)
    assert widget.session.image.item["id"] == answered[0]


def test_drawing_outside_the_region_is_discarded(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "outside", pump)
    scene, (i0, i1, j0, j1, k0, k1) = widget.session.image.scene, widget.session.image.item["box"]
    before = scene.mask()
    slicer.util.updateSegmentBinaryLabelmapFromArray((~before).astype(np.uint8), scene.segmentation, "vessel", scene.image)
    stroke = scene.take_stroke(widget.session.image.item["box"])
    after = scene.mask()
    assert stroke is not None
    inside = np.zeros(before.shape, bool)
    inside[k0:k1, j0:j1, i0:i1] = True
    np.testing.assert_array_equal(after[~inside], before[~inside])
    np.testing.assert_array_equal(after[inside], ~before[inside])


def test_a_region_is_chosen_from_the_table_and_an_answered_one_is_only_shown(
    widget: Any, lab: Lab, pump: Callable[..., int]
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "listed", pump)
    first = widget.session.image.item["id"]
    chosen = widget.display.table.items[4]
    widget.ui.queue.cellClicked.emit(4, 1)
    pump(lambda: not widget.worker.busy)
    assert widget.session.image.item["id"] == chosen["id"] != first
    centre = slicer.util.arrayFromVTKMatrix(slicer.util.getNodesByClass("vtkMRMLSliceNode")[0].GetSliceToRAS())[:3, 3]
    np.testing.assert_allclose(centre, chosen["centre_ras"], atol=1e-3)
    widget.ui.note.setText("  a thin branch ")
    reply(widget, "accept", pump)
    assert widget.ui.note.text == "", "it was sent"
    assert widget.session.image.item["id"] == first
    row = next(n for n, item in enumerate(widget.display.table.items) if item["id"] == chosen["id"])
    assert widget.ui.queue.item(row, 4).text() == "accepted"
    widget.ui.queue.cellClicked.emit(row, 1)
    assert "answered: accepted, by ann" in widget.ui.message.text
    assert "Note: a thin branch" in widget.ui.message.text
    assert widget.session.image.item is None
    reply(widget, "next", pump)
    assert widget.session.image.item["id"] == first


def test_suspected_errors_are_walked_through(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "listed", pump)
    matrix = np.array(widget.session.image.status["affine_ras"])
    items = [
        item for item in widget.display.table.items if item["kind"] != "random check" and item["state"] in ("pending", "leased")
    ]
    asked = {item["id"]: get(f"{lab.url}/review/places/{item['id']}/errors", lab.tokens["ann"]) for item in items}
    errors = {name: json.loads(content)["errors"] for name, content in asked.items()}
    chosen = max(items, key=lambda item: len(errors[item["id"]]))
    expected = errors[chosen["id"]]
    assert expected, "the lab has such a region"
    widget.ui.queue.cellClicked.emit(widget.display.table.items.index(chosen), 1)
    pump(lambda: not widget.worker.busy)
    for number in range(len(expected) + 1):  # after the last one the first
        widget.ui.next_error.click()
        pump(lambda: not widget.worker.busy)
        error = expected[number % len(expected)]
        assert f"Error {number % len(expected) + 1} of {len(expected)}: " in widget.ui.message.text
        assert error["reason"] in widget.ui.message.text
        centre = slicer.util.arrayFromVTKMatrix(slicer.util.getNodesByClass("vtkMRMLSliceNode")[0].GetSliceToRAS())[:3, 3]
        np.testing.assert_allclose(centre, (matrix @ [*error["centre"], 1])[:3], atol=1e-3)
    reply(widget, "skip", pump)
    pump(lambda: not widget.worker.busy)


def test_the_map_has_a_point_for_each_row_of_the_table(widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any) -> None:
    connect(widget, lab, pump)
    assert not widget.ui.overview.enabled
    open_image(widget, "listed", pump)
    widget.parent.activateWindow()
    matrix = np.array(widget.session.image.status["affine_ras"])
    press(widget, qtbot, "V")
    found = {
        node.GetNthControlPointLabel(n): node.GetNthControlPointPositionWorld(n)
        for node in widget.session.image.views.overview.points.values()
        for n in range(node.GetNumberOfControlPoints())
    }
    assert len(found) == len(widget.display.table.items)
    for row, item in enumerate(widget.display.table.items, 1):
        centre = (np.array(item["box"][::2]) + item["box"][1::2]) / 2 - 0.5
        np.testing.assert_allclose(found[str(row)], (matrix @ [*centre, 1])[:3], atol=1e-3)
    press(widget, qtbot, "V")
    assert not widget.session.image.views.overview.shown


def test_the_next_image_has_the_most_expected_errors(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    widget.ui.open_next.click()
    pump(lambda: widget.session.image.item and not widget.worker.busy)
    best = widget.session.image.name
    assert widget.ui.image.currentText == best == widget.session.image.item["case"]
    pending = json.loads(get(f"{lab.url}/review/?state=pending&limit=1", lab.tokens["ann"]))["places"][0]
    said = reply(widget, "open_next", pump)
    assert widget.session.image.name == pending["case"]
    assert ("is still the image" in said) == (pending["case"] == best)


def test_an_answer_is_undone_and_then_its_correction(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "undone", pump)
    item, before = widget.session.image.item, widget.session.image.scene.mask()
    draw(widget, item["box"])
    drawn = widget.session.image.scene.mask()
    widget.ui.accept.click()
    widget.ui.accept.click()  # a second press is not a second answer
    assert "last answer" in reply(widget, "undo", pump)  # pressed before the answer is back: that one is meant
    assert widget.session.image.item["id"] == item["id"]
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)
    assert "Undone: stroke" in reply(widget, "undo", pump)
    np.testing.assert_array_equal(widget.session.image.scene.mask(), before)
    assert "Redone: stroke" in reply(widget, "redo", pump)
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)
    reply(widget, "accept", pump)
    i0, i1, j0, j1, k0, k1 = item["box"]
    kept = served(lab, "/review/images/undone/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])


def test_the_uncertainty_is_shown_and_hidden_by_its_key_and_its_sliders(
    widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "listed", pump)
    widget.parent.activateWindow()
    press(widget, qtbot, "O")
    views = widget.session.image.views
    assert views.uncertainty_shown
    widget.ui.threshold.setValue(0.4)
    assert views.uncertainty.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.4)
    widget.ui.opacity.setValue(0.8)
    assert slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetForegroundOpacity() == pytest.approx(0.8)
    press(widget, qtbot, "O")
    assert not views.uncertainty_shown


def test_undo_and_redo_show_what_they_change_in_another_region(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "redone", pump)
    item, before = widget.session.image.item, widget.session.image.scene.mask()
    draw(widget, item["box"])
    drawn = widget.session.image.scene.mask()
    widget.session.show.note = "is it one?"
    reply(widget, "skip", pump)
    assert widget.session.image.item["id"] != item["id"]
    assert "Answer this region first" in reply(widget, "next", pump)
    assert "Undone: the last answer" in reply(widget, "undo", pump)  # what was done last
    assert widget.session.image.item["id"] == item["id"]
    assert widget.session.show.note == "is it one?"
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)
    reply(widget, "skip", pump)
    other = widget.session.image.item["id"]
    widget.session.image.done.clear()  # as in an image that was opened again
    assert "in another region, which is shown now" in reply(widget, "undo", pump)
    assert widget.session.image.item is None
    np.testing.assert_array_equal(widget.session.image.scene.mask(), before)
    assert "Go to a region first" in reply(widget, "accept", pump)
    assert "in another region, which is shown now" in reply(widget, "redo", pump)
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)
    reply(widget, "next", pump)
    assert widget.session.image.item["id"] == other


def test_nothing_accepted_is_drawn_over(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "path", pump)
    item = widget.session.image.item
    reply(widget, "accept", pump)
    accepted = widget.session.image.scene.mask()
    widget.session.image.show_item(item)
    draw(widget, item["box"])
    assert widget.session.store_stroke() == ""
    np.testing.assert_array_equal(widget.session.image.scene.mask(), accepted)


def test_images_that_were_left_leave_nothing_in_the_scene(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    counts = []
    for name in ("plain", "listed", "plain", "listed"):
        open_image(widget, name, pump)
        widget.ui.uncertainty.click()
        counts.append(slicer.mrmlScene.GetNumberOfNodes())
    assert counts[0] == counts[2]
    assert counts[1] == counts[3]
    widget.session.leave_image()
    for kind in ("vtkMRMLSegmentationNode", "vtkMRMLModelDisplayNode", "vtkMRMLMarkupsROIDisplayNode", "vtkMRMLScalarVolumeNode"):
        assert len(slicer.util.getNodesByClass(kind)) == 0 or kind == "vtkMRMLModelDisplayNode", kind
    assert list(Path(widget.session.image._downloads).iterdir()) == []


def test_the_token_is_remembered_where_that_is_wanted(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    assert not widget.ui.remember.checked
    for remember in (True, False):
        widget.ui.remember.setChecked(remember)
        connect(widget, lab, pump)
        again = type(widget)(widget.parent)
        again.setup()
        assert again.ui.token.text == (lab.tokens["ann"] if remember else "")
        assert again.ui.remember.checked == remember
        assert again.ui.url.text == lab.url
        again.cleanup()


def test_the_segment_editor_has_the_scene_and_draws_only_in_the_frame(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    assert ("setMRMLScene",) in widget.ui.editor.calls
    connect(widget, lab, pump)
    open_image(widget, "listed", pump)
    assert widget.display.editor_node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
    assert widget.display.editor_node.GetMaskSegmentID() == "region"
    scene, box = widget.session.image.scene, widget.session.image.item["box"]
    frame = slicer.util.arrayFromSegmentBinaryLabelmap(scene.segmentation, "region", scene.image) > 0
    wanted = np.zeros(frame.shape, bool)
    wanted[box[4] : box[5], box[2] : box[3], box[0] : box[1]] = True
    np.testing.assert_array_equal(frame, wanted)
    widget.ui.correct.click()
    assert widget.display.editor_node.GetActiveEffectName() == "Paint"
    reply(widget, "accept", pump)
    assert widget.display.editor_node.GetActiveEffectName() == ""
