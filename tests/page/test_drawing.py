"""The page: pen, path, fill and smooth change the mask voxel by voxel, and every step is undone; the mask is hidden and shown.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from page.seat import Seat, serious_findings
from PIL import Image

from minivess.volume import read_volume

IMAGES = ("plain", "mirrored", "oblique", "torn", "redone", "undone", "hidden", "listed")


@pytest.mark.parametrize("image", ["plain", "mirrored", "oblique"])
def test_a_pen_stroke_and_a_path_reach_the_server_voxel_by_voxel(seat: Seat, image: str) -> None:
    seat.connect().choose(image)
    np.testing.assert_array_equal(seat.mask(), seat.server_mask(image))
    before, item = seat.mask(), seat.item
    seat.press("f")
    seat.stroke()
    assert seat.message.startswith("Drawn")
    drawn = seat.mask()
    i0, i1, j0, j1, k0, k1 = item["box"]
    inside = np.zeros(drawn.shape, bool)
    inside[i0:i1, j0:j1, k0:k1] = True
    assert (drawn != before)[inside].sum() > 5
    np.testing.assert_array_equal(drawn[~inside], before[~inside])
    np.testing.assert_array_equal(drawn, seat.server_mask(image))
    seat.picture(f"page-{image}")
    seat.press("p")
    middle = (j0 + j1) // 2, (k0 + k1) // 2
    seat.click_voxel((i0 + 2, *middle))
    assert "other end" in seat.message
    seat.click_voxel((i1 - 3, *middle))
    assert "path" in seat.message, seat.message
    traced = seat.mask()
    np.testing.assert_array_equal(traced, seat.server_mask(image))
    seat.press("u")
    np.testing.assert_array_equal(seat.mask(), drawn)
    seat.press("r")
    np.testing.assert_array_equal(seat.mask(), traced)
    seat.press("a")
    assert seat.lab.ask("GET", f"/review/places/{item['id']}", "ann").json()["state"] == "fixed"
    np.testing.assert_array_equal(seat.server_mask(image, "mask")[inside], traced[inside])
    seat.press("u")  # the answer, with what was corrected in it
    assert "last answer" in seat.message
    assert seat.item["id"] == item["id"]
    np.testing.assert_array_equal(seat.mask(), traced)
    seat.press("a")
    np.testing.assert_array_equal(seat.server_mask(image, "mask")[inside], traced[inside])
    seat.page.click("#submit")
    seat.idle()
    assert "Submitted as revision" in seat.message
    label = seat.lab.folder / "label.nii.gz"
    label.write_bytes(seat.lab.ask("GET", f"/datastore/label?label={image}&tag=final", "ann").content)
    np.testing.assert_array_equal(read_volume(label).array, seat.mask())


def test_a_stroke_that_leaves_the_picture_is_not_lost_and_nothing_accepted_is_drawn_over(seat: Seat) -> None:
    seat.connect().choose("torn")
    item = seat.item
    before = seat.mask()
    seat.press("f")
    x, y = seat.middle()
    box = seat.page.locator("#gl").bounding_box()
    seat.page.mouse.move(x, y)
    seat.page.mouse.down()
    seat.page.mouse.move(x + 12, y + 40, steps=5)
    seat.page.mouse.move(box["x"] + box["width"] + 40, y + 40, steps=5)
    seat.page.mouse.up()  # beside the picture: the viewer tells of no stroke
    drawn = seat.mask()
    i0, i1, j0, j1, k0, k1 = item["box"]
    inside = np.zeros(drawn.shape, bool)
    inside[i0:i1, j0:j1, k0:k1] = True
    assert (drawn != before)[inside].any()
    seat.press("Escape")
    seat.press("a")
    assert seat.lab.ask("GET", f"/review/places/{item['id']}", "ann").json()["state"] == "fixed"
    np.testing.assert_array_equal(seat.server_mask("torn", "mask")[inside], drawn[inside])
    accepted = seat.mask()
    seat.page.evaluate(
        "(item) => { const { review } = window.minivess; return review.enqueue(() => review.regions.show(item)) }", item
    )
    seat.press("f")
    seat.stroke()  # over the accepted region
    np.testing.assert_array_equal(seat.mask()[inside], accepted[inside])


def test_undo_and_redo_show_what_they_change_in_another_region(seat: Seat) -> None:
    seat.connect().choose("redone")
    before, item = seat.mask(), seat.item
    seat.press("f")
    seat.stroke()
    drawn = seat.mask()
    seat.press("Escape")
    seat.show_region(-1)
    other = seat.item["id"]
    assert other != item["id"]
    seat.press("n")
    assert "Answer this region first" in seat.message
    seat.press("u")
    assert "Undone: draw, in another region" in seat.message
    assert seat.item is None
    np.testing.assert_array_equal(seat.mask(), before)
    i0, i1, j0, j1, k0, k1 = seat.page.evaluate("() => window.minivess.viewer.box")
    x0, x1, y0, y1, z0, z1 = item["box"]
    assert x0 <= i0 < i1 <= x1
    assert y0 <= j0 < j1 <= y1
    assert z0 <= k0 < k1 <= z1
    seat.press("a")
    assert "Press N for the next region first" in seat.message
    seat.press("r")
    assert "Redone: draw, in another region" in seat.message
    np.testing.assert_array_equal(seat.mask(), drawn)
    np.testing.assert_array_equal(seat.server_mask("redone"), drawn)
    seat.press("n")
    assert seat.item["id"] == item["id"]  # both are reserved, and it is worth more


def test_what_was_done_last_is_undone_first(seat: Seat) -> None:
    """An answer after a step is withdrawn before the step, which may be of another region."""
    seat.connect().choose("redone")
    first = seat.item["id"]
    seat.press("f")
    seat.stroke()
    drawn = seat.mask()
    seat.press("Escape")
    seat.show_region(-2)
    second = seat.item["id"]
    assert second != first
    seat.page.fill("#note", "is it a vessel?")
    seat.press("Enter")
    seat.press("s")
    seat.press("u")
    assert "Your last answer is withdrawn" in seat.message
    assert seat.item["id"] == second
    assert seat.page.input_value("#note") == "is it a vessel?"
    np.testing.assert_array_equal(seat.mask(), drawn)
    seat.press("u")
    assert "Undone: draw, in another region" in seat.message


def test_steps_are_listed_and_undone_back_to_one_of_them(seat: Seat) -> None:
    seat.connect("undone")
    before = seat.mask()
    seat.press("f")
    seat.page.click("#steps summary")
    seat.page.wait_for_function("() => document.getElementById('noSteps').textContent.startsWith('No step')")
    for count in (1, 2, 3):
        seat.stroke(20 + 12 * count)
        seat.page.wait_for_function(f"() => document.querySelectorAll('#stepRows li').length === {count}")
    assert serious_findings(seat.page) == []
    rows = seat.page.locator("#stepRows button")
    assert rows.first.inner_text().startswith("draw, ")
    rows.nth(1).click()
    seat.page.wait_for_function("() => document.querySelectorAll('#stepRows li').length === 1")
    seat.idle()
    np.testing.assert_array_equal(seat.mask(), seat.server_mask("undone"))
    assert (seat.mask() != before).any()
    seat.page.locator("#stepRows button").click()
    seat.idle()
    np.testing.assert_array_equal(seat.mask(), before)


def test_fill_and_smooth_change_the_region_alone(seat: Seat) -> None:
    seat.connect("listed")
    i0, i1, j0, j1, k0, k1 = seat.item["box"]
    inside = np.zeros(seat.mask().shape, bool)
    inside[i0:i1, j0:j1, k0:k1] = True
    seat.press("f")
    seat.stroke()
    for key, name in (("t", "smooth"), ("b", "grow")):
        before = seat.mask()
        vessel = np.argwhere((before > 0) & inside)
        assert len(vessel), "the pen has drawn"
        seat.press(key)
        assert seat.page.is_checked(f'input[value="{name}"]')
        i, j, k = (int(v) for v in vessel[len(vessel) // 2])
        seat.click_voxel((i, j, k))
        assert seat.message.startswith((f"{name}:", "Nothing was changed")), seat.message
        after = seat.mask()
        np.testing.assert_array_equal(after[~inside], before[~inside])
        np.testing.assert_array_equal(after, seat.server_mask("listed"))


def test_the_masks_are_read_again_without_being_loaded_into_the_view(seat: Seat) -> None:
    seat.connect().choose("hidden")
    before = seat.mask()
    seat.page.evaluate("""() => { const { nv } = window.minivess.viewer; const draw = nv.loadDrawing; window.loaded = 0
        nv.loadDrawing = (...given) => { window.loaded++; return draw.apply(nv, given) } }""")
    seat.page.evaluate("() => window.minivess.review.enqueue(() => window.minivess.review.image.reload())")
    seat.idle()
    assert seat.page.evaluate("() => window.loaded") == 0
    np.testing.assert_array_equal(seat.mask(), before)


def test_the_mask_is_hidden_and_shown(seat: Seat) -> None:
    seat.connect().choose("hidden")
    seat.page.wait_for_function("() => window.minivess.review.suspects.probabilities")  # what is suspected is drawn, too
    red = []
    for pressed in ("true", "false", "true"):
        assert seat.page.get_attribute("#mask", "aria-pressed") == pressed
        shot = np.asarray(Image.open(io.BytesIO(seat.page.locator("#gl").screenshot())).convert("RGB")).astype(int)
        red.append((shot[..., 0] - shot[..., 1] > 55).sum())  # the crosshair is yellow
        seat.press("m")
    assert red[0] == red[2] > 500
    assert red[1] < red[0] / 20
