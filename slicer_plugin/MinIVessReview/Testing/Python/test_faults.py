"""The panel when something goes wrong: the user is told, and no work is lost."""

from __future__ import annotations

import json
import threading
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
    assert widget.session.image.name == ""
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert not widget.ui.accept.enabled
    open_image(widget, "closed", pump)
    assert widget.ui.accept.enabled


def test_the_user_is_told_of_an_invalid_token_and_of_a_server_that_does_not_answer(
    widget: Any, lab: Lab, pump: Callable[..., int]
) -> None:
    widget.ui.url.setText(lab.url)
    widget.ui.token.setText("wrong")
    widget.ui.remember.setChecked(True)
    widget.ui.serverSection.collapsed = True
    reply(widget, "connect", pump)
    assert widget.ui.message.text.startswith("The token is not valid (any more).")
    assert widget.ui.token.text == ""
    assert not widget.ui.serverSection.collapsed
    assert slicer.app.userSettings().value("MinIVessReview/token") == ""
    widget.ui.url.setText("http://127.0.0.1:9")
    reply(widget, "connect", pump)
    assert widget.ui.message.text == "The server http://127.0.0.1:9 does not answer. Is it running?"


def test_a_server_that_goes_away_costs_nothing(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    relay = Relay(lab.url)
    connect(widget, lab, pump, relay.url)
    open_image(widget, "away", pump)
    item = widget.session.image.item
    relay.cut()
    draw(widget, item["box"])
    drawn = widget.session.image.scene.mask()
    widget.ui.accept.click()
    pump(lambda: not widget.worker.busy)
    assert "saved on this computer" in widget.ui.message.text
    stroke, answer = widget.session.outbox.names()
    entry = json.loads((widget.session.folder / "unsent" / f"{answer}.json").read_text())
    assert entry["after"] == stroke, "the answer is refused if its stroke is"
    alone = widget.session.image.item  # of the list that was fetched before
    assert alone["id"] != item["id"]
    reply(widget, "accept", pump)
    assert len(widget.session.outbox) == 3
    relay.restore()
    widget.ui.next.click()
    pump(lambda: widget.session.image.item and not widget.worker.busy)
    assert len(widget.session.outbox) == 0
    assert json.loads(get(f"{lab.url}/review/places/{alone['id']}", lab.tokens["ann"]))["state"] == "accepted"
    i0, i1, j0, j1, k0, k1 = item["box"]
    kept = served(lab, "/review/images/away/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
    relay.cut()


def test_masks_are_read_again_when_the_server_answers_again(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    relay = Relay(lab.url)
    connect(widget, lab, pump, relay.url)
    open_image(widget, "away-draft", pump)
    draw(widget, widget.session.image.item["box"])
    reply(widget, "next", pump)  # the stroke is sent
    stroke = widget.session.image.stroke
    relay.cut()
    reply(widget, "skip", pump)
    (answer,) = widget.session.outbox.names()
    assert json.loads((widget.session.folder / "unsent" / f"{answer}.json").read_text())["after"] == stroke != ""
    drawn = widget.session.image.scene.mask()
    post(f"{lab.url}/review/images/away-draft/draft/undo", lab.tokens["ann"])  # in another window
    relay.restore()
    reply(widget, "next", pump)
    shown = widget.session.image.scene.mask()
    assert (shown != drawn).any()
    np.testing.assert_array_equal(
        shown.transpose(2, 1, 0), served(lab, "/review/images/away-draft/draft/mask?format=nii.gz", tmp_path)
    )
    relay.cut()


def test_somebody_else_was_faster(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "faster", pump)
    item = widget.session.image.item
    post(f"{lab.url}/review/places/{item['id']}/release", lab.tokens["ann"])
    assert post(f"{lab.url}/review/next?image=faster", lab.tokens["bob"])["place"]["id"] == item["id"]
    post(f"{lab.url}/review/places/{item['id']}/answer", lab.tokens["bob"], verdict="accepted")
    reply(widget, "accept", pump, 120)
    assert "answered by bob" in widget.ui.message.text, "it can be read when all is done"
    assert widget.session.image.item["id"] != item["id"]


def test_what_was_drawn_survives_the_wrong_key_and_a_closed_scene(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "wrong-key", pump)
    item = widget.session.image.item
    draw(widget, item["box"])
    drawn = widget.session.image.scene.mask()
    widget.ui.next.click()  # before A
    pump(lambda: not widget.worker.busy)
    assert widget.session.image.item["id"] == item["id"]
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)
    np.testing.assert_array_equal(
        drawn.transpose(2, 1, 0), served(lab, "/review/images/wrong-key/draft/mask?format=nii.gz", tmp_path)
    )
    released = threading.Event()
    widget.worker.submit(lambda _: released.wait(60), lambda _: None, lambda _: None)
    widget.ui.accept.click()  # waits behind it
    slicer.mrmlScene.Clear(0)
    released.set()
    assert not widget.worker.busy
    assert len(widget.session.outbox) == 1
    open_image(widget, "wrong-key", pump)  # sends what is unsent
    i0, i1, j0, j1, k0, k1 = item["box"]
    kept = served(lab, "/review/images/wrong-key/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])


def test_a_token_that_is_no_good_any_more(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    lab.user("add", "dan")
    connect(widget, lab, pump, who="dan")
    open_image(widget, "token", pump)
    item = widget.session.image.item
    draw(widget, item["box"])
    lab.user("remove", "dan")
    said = reply(widget, "accept", pump)
    assert "token is not valid" in said
    assert "saved on this computer" in said
    assert len(widget.session.outbox) == 2
    lab.user("add", "dan")
    connect(widget, lab, pump, who="dan")
    assert len(widget.session.outbox) == 0
    state = json.loads(get(f"{lab.url}/review/places/{item['id']}", lab.tokens["dan"]))
    assert (state["state"], state["by"]) == ("fixed", "dan")
    reply(widget, "next", pump)
    assert widget.session.image.item["id"] != item["id"]


def test_an_image_that_was_deleted_leaves_the_mask_here(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "gone", pump)
    draw(widget, widget.session.image.item["box"])
    drawn = widget.session.image.scene.mask()
    (lab.folder / "studies" / "gone.nii.gz").unlink()
    get(f"{lab.url}/datastore/?output=all", lab.tokens["ann"])
    said = reply(widget, "accept", pump)
    assert "is saved in" in said, said
    (file,) = (widget.session.folder / "labels").glob("gone-*.nii.gz")
    assert str(file) in said
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(file).dataobj), drawn.transpose(2, 1, 0))


def test_two_labels_of_one_image_are_both_kept(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "conflict", pump)
    assert "Submitted as revision" in reply(widget, "submit", pump)
    widget.session.image.status["revision"] = 0  # opened before the other label came
    draw(widget, widget.session.image.item["box"])
    said = reply(widget, "submit", pump)
    assert "The server stores both labels" in said, said
    history = json.loads(get(f"{lab.url}/labels/conflict", lab.tokens["ann"]))
    assert len(history["revisions"]) == 2


def test_an_answer_that_comes_after_another_image_was_opened_is_not_drawn_there(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "faster", pump)
    draw(widget, widget.session.image.item["box"])
    widget.ui.image.setCurrentText("away")
    widget.ui.open.click()
    widget.ui.accept.click()  # still of the image before
    pump(lambda: widget.session.image.name == "away" and not widget.worker.busy)
    np.testing.assert_array_equal(
        widget.session.image.scene.mask().transpose(2, 1, 0),
        served(lab, "/review/images/away/draft/mask?format=nii.gz", tmp_path),
    )
    np.testing.assert_array_equal(
        widget.session.image.base.transpose(2, 1, 0), served(lab, "/review/images/away/mask?format=nii.gz", tmp_path)
    )


def test_a_reply_that_was_lost_is_caught_up_with(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    open_image(widget, "stale", pump)
    item = widget.session.image.item
    draw(widget, item["box"])
    assert "Answer this region first" in reply(widget, "next", pump)  # the stroke is sent
    drawn = widget.session.image.scene.mask()
    post(f"{lab.url}/review/images/stale/draft/undo", lab.tokens["ann"])  # what the server did; nobody heard of it
    widget.on_cancel()
    reply(widget, "accept", pump)
    assert (widget.session.image.scene.mask() != drawn).any()
    assert json.loads(get(f"{lab.url}/review/places/{item['id']}", lab.tokens["ann"]))["state"] == "accepted"


def test_what_was_drawn_after_a_lost_reply_is_not_lost(widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path) -> None:
    connect(widget, lab, pump)
    open_image(widget, "lost-reply", pump)
    item = widget.session.image.item
    widget.on_cancel()
    draw(widget, item["box"])
    drawn = widget.session.image.scene.mask()
    reply(widget, "accept", pump)
    assert json.loads(get(f"{lab.url}/review/places/{item['id']}", lab.tokens["ann"]))["state"] == "fixed"
    i0, i1, j0, j1, k0, k1 = item["box"]
    kept = served(lab, "/review/images/lost-reply/mask?format=nii.gz", tmp_path)
    np.testing.assert_array_equal(kept[i0:i1, j0:j1, k0:k1], drawn.transpose(2, 1, 0)[i0:i1, j0:j1, k0:k1])
    np.testing.assert_array_equal(widget.session.image.scene.mask(), drawn)


def test_what_was_drawn_outside_every_region_is_not_submitted(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "lost-reply", pump)
    box, mask = widget.session.image.item["box"], widget.session.image.scene.mask()
    widget.session.image.item = None
    draw(widget, box)
    assert "Submitted" in reply(widget, "submit", pump)
    label = tmp_path / "label.nii.gz"
    label.write_bytes(get(f"{lab.url}/datastore/label?label=lost-reply&tag=final", lab.tokens["ann"]))
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(label).dataobj), mask.transpose(2, 1, 0))


def test_a_label_is_not_submitted_from_masks_that_are_stale(
    widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    connect(widget, lab, pump)
    open_image(widget, "resubmitted", pump)
    draw(widget, widget.session.image.item["box"])
    reply(widget, "next", pump)  # the stroke is sent
    drawn = widget.session.image.scene.mask()
    post(f"{lab.url}/review/images/resubmitted/draft/undo", lab.tokens["ann"])  # from elsewhere: nobody tells the module
    assert "Submitted" in reply(widget, "submit", pump)
    label = tmp_path / "label.nii.gz"
    label.write_bytes(get(f"{lab.url}/datastore/label?label=resubmitted&tag=final", lab.tokens["ann"]))
    sent = np.asanyarray(nibabel.load(label).dataobj)
    assert (sent != drawn.transpose(2, 1, 0)).any()
    np.testing.assert_array_equal(sent, served(lab, "/review/images/resubmitted/draft/mask?format=nii.gz", tmp_path))


def test_the_window_lives_while_a_slow_server_opens_an_image(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    relay = Relay(lab.url, delay_s=0.15)
    connect(widget, lab, pump, relay.url)
    begun = time.monotonic()
    widget.ui.image.setCurrentText("faster")
    widget.ui.open.click()
    ticks = pump(lambda: widget.session.image.item and not widget.worker.busy, 120)
    took_s = time.monotonic() - begun
    assert took_s > 0.9, "six requests at least, one after the other"
    assert ticks > took_s / 0.010 / 8, "a frozen window would have had none meanwhile"
    widget.ui.next.click()
    assert widget.ui.cancel.enabled
    widget.ui.cancel.click()
    assert not widget.worker.busy
    assert "Cancelled" in widget.ui.message.text
    relay.cut()
