"""The panel where something goes wrong: in words, and nothing that was done is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import slicer
from running import Lab, Relay, get, post
from steps import connect, draw, open_image, reply, served


def test_a_scene_closed_in_the_middle_of_a_request(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    widget.ui.image.setCurrentText("closed")
    widget.ui.open.click()
    assert widget.worker.busy
    slicer.mrmlScene.Clear(0)
    pump(lambda: not widget.worker.busy)
    assert widget.review.case.name == ""
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not widget.ui.accept.enabled
    open_image(widget, "closed", pump)
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
    open_image(widget, "away", pump)
    place = widget.review.place
    relay.cut()
    draw(widget, place["box"])
    drawn = widget.review.case.scene.mask()
    widget.ui.accept.click()
    pump(lambda: not widget.worker.busy)
    assert "Your work is kept here" in widget.ui.message.text
    assert len(widget.review.outbox) == 2
    alone = widget.review.place  # of the list that was fetched before
    assert alone["id"] != place["id"]
    reply(widget, "accept", pump)
    assert len(widget.review.outbox) == 3
    relay.mend()
    widget.ui.next.click()
    pump(lambda: widget.review.place and not widget.worker.busy)
    assert len(widget.review.outbox) == 0
    assert json.loads(get(f"{lab.url}/review/places/{alone['id']}", lab.tokens["ann"]))["state"] == "accepted"
    i0, i1, j0, j1, k0, k1 = place["box"]
    kept = served(lab, "/review/images/away/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
    relay.cut()


def test_somebody_else_was_faster(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "faster", pump)
    place = widget.review.place
    post(f"{lab.url}/review/places/{place['id']}/release", lab.tokens["ann"])
    assert post(f"{lab.url}/review/next?image=faster", lab.tokens["bob"])["place"]["id"] == place["id"]
    post(f"{lab.url}/review/places/{place['id']}/answer", lab.tokens["bob"], verdict="accepted")
    reply(widget, "accept", pump, 120)
    assert "answered by bob" in widget.ui.message.text, "it can be read when all is done"
    assert widget.review.place["id"] != place["id"]


def test_what_was_drawn_survives_the_wrong_key_and_a_closed_scene(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "wrong-key", pump)
    place = widget.review.place
    draw(widget, place["box"])
    drawn = widget.review.case.scene.mask()
    widget.ui.next.click()  # before A
    pump(lambda: not widget.worker.busy)
    assert widget.review.place["id"] == place["id"]
    np.testing.assert_array_equal(widget.review.case.scene.mask(), drawn)
    np.testing.assert_array_equal(
        drawn.transpose(2, 1, 0), served(lab, "/review/images/wrong-key/draft/mask?format=nii.gz", tmp_path)
    )
    widget.worker.submit(lambda _: time.sleep(0.5), lambda _: None, lambda _: None)
    widget.ui.accept.click()  # waits behind it
    slicer.mrmlScene.Clear(0)
    pump(lambda: not widget.worker.busy)
    open_image(widget, "wrong-key", pump)  # sends what was kept
    i0, i1, j0, j1, k0, k1 = place["box"]
    kept = served(lab, "/review/images/wrong-key/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])


def test_a_token_that_is_no_good_any_more(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    lab.user("add", "dan")
    connect(widget, lab, pump, who="dan")
    open_image(widget, "token", pump)
    place = widget.review.place
    draw(widget, place["box"])
    lab.user("remove", "dan")
    said = reply(widget, "accept", pump)
    assert "token is not valid" in said
    assert "kept here" in said
    assert len(widget.review.outbox) == 2
    lab.user("add", "dan")
    connect(widget, lab, pump, who="dan")
    assert len(widget.review.outbox) == 0
    state = json.loads(get(f"{lab.url}/review/places/{place['id']}", lab.tokens["dan"]))
    assert (state["state"], state["by"]) == ("fixed", "dan")
    reply(widget, "next", pump)
    assert widget.review.place["id"] != place["id"]


def test_an_image_that_was_deleted_leaves_the_mask_here(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "gone", pump)
    draw(widget, widget.review.place["box"])
    drawn = widget.review.case.scene.mask()
    (lab.folder / "studies" / "gone.nii.gz").unlink()
    get(f"{lab.url}/datastore/?output=all", lab.tokens["ann"])
    said = reply(widget, "accept", pump)
    assert "is kept in" in said, said
    (file,) = (widget.review.folder / "labels").glob("gone-*.nii.gz")
    assert str(file) in said
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(file).dataobj), drawn.transpose(2, 1, 0))


def test_two_labels_of_one_image_are_both_kept(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "conflict", pump)
    assert "Submitted as revision" in reply(widget, "submit", pump)
    widget.review.case.standing["revision"] = 0  # opened before the other label came
    draw(widget, widget.review.place["box"])
    said = reply(widget, "submit", pump)
    assert "Yours is kept beside theirs" in said, said
    history = json.loads(get(f"{lab.url}/labels/conflict", lab.tokens["ann"]))
    assert len(history["revisions"]) == 2


def test_an_answer_that_comes_after_another_image_was_opened_is_not_drawn_there(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "faster", pump)
    draw(widget, widget.review.place["box"])
    widget.ui.image.setCurrentText("away")
    widget.ui.open.click()
    widget.ui.accept.click()  # still of the image before
    pump(lambda: widget.review.case.name == "away" and not widget.worker.busy)
    np.testing.assert_array_equal(
        widget.review.case.scene.mask().transpose(2, 1, 0), served(lab, "/review/images/away/draft/mask?format=nii.gz", tmp_path)
    )
    np.testing.assert_array_equal(
        widget.review.case.base.transpose(2, 1, 0), served(lab, "/review/images/away/mask?format=nii.gz", tmp_path)
    )


def test_a_reply_that_was_lost_is_caught_up_with(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "stale", pump)
    place = widget.review.place
    draw(widget, place["box"])
    assert "Answer this place first" in reply(widget, "next", pump)  # the stroke is sent
    drawn = widget.review.case.scene.mask()
    post(f"{lab.url}/review/images/stale/draft/undo", lab.tokens["ann"])  # what the server did; nobody heard of it
    widget.on_cancel()
    reply(widget, "accept", pump)
    assert (widget.review.case.scene.mask() != drawn).any()
    assert json.loads(get(f"{lab.url}/review/places/{place['id']}", lab.tokens["ann"]))["state"] == "accepted"


def test_what_was_drawn_after_a_lost_reply_is_not_lost(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "lost-reply", pump)
    place = widget.review.place
    widget.on_cancel()
    draw(widget, place["box"])
    drawn = widget.review.case.scene.mask()
    reply(widget, "accept", pump)
    assert json.loads(get(f"{lab.url}/review/places/{place['id']}", lab.tokens["ann"]))["state"] == "fixed"
    i0, i1, j0, j1, k0, k1 = place["box"]
    kept = served(lab, "/review/images/lost-reply/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
    np.testing.assert_array_equal(widget.review.case.scene.mask(), drawn)


def test_what_was_drawn_in_no_place_is_not_submitted(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "lost-reply", pump)
    box, mask = widget.review.place["box"], widget.review.case.scene.mask()
    widget.review.place = None
    draw(widget, box)
    assert "Submitted" in reply(widget, "submit", pump)
    label = tmp_path / "label.nii.gz"
    label.write_bytes(get(f"{lab.url}/datastore/label?label=lost-reply&tag=final", lab.tokens["ann"]))
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(label).dataobj), mask.transpose(2, 1, 0))


def test_the_window_lives_while_a_slow_server_opens_an_image(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    relay = Relay(lab.url, delay_s=0.15)
    connect(widget, lab, pump, relay.url)
    begun = time.monotonic()
    widget.ui.image.setCurrentText("faster")
    widget.ui.open.click()
    ticks = pump(lambda: widget.review.place and not widget.worker.busy, 120)
    took_s = time.monotonic() - begun
    assert took_s > 0.9, "six requests at least, one after the other"
    assert ticks > took_s / 0.010 / 8, "a frozen window would have had none meanwhile"
    widget.ui.next.click()
    assert widget.ui.cancel.enabled
    widget.ui.cancel.click()
    assert not widget.worker.busy
    assert "Cancelled" in widget.ui.message.text
    relay.cut()
