"""The page: connect, correct with pen and path, answer by keys, submit; a server that goes away; nothing lost, no other host.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from page.seat import READY, Seat
from PIL import Image
from playwright.sync_api import Browser, Route
from server.lab import Lab

from minivess.server import Accounts, LabelServer, accounts_path
from minivess.volume import Box, read_volume, write_volume

#: Images of one test each, and those of several.
IMAGES = (
    *("ten", "sitting", "away", "faster", "listed", "torn", "token", "gone", "touch", "hidden", "shared", "redone", "lost"),
    *("withdrawn", "undone", "slow", "wanted", "pressed"),
    *("plain", "mirrored", "oblique", "large"),
)


def test_a_wrong_token_is_told_in_words(seat: Seat) -> None:
    seat.page.goto(f"{seat.lab.server.url}/app/")
    seat.page.fill("#token", "not-a-token")
    seat.page.click("#connect button")
    seat.page.wait_for_function("() => document.getElementById('connectMessage').textContent.includes('token is not valid')")
    assert seat.page.is_visible("#connect")


def test_ten_regions_by_keys(seat: Seat) -> None:
    seat.connect().choose("ten")
    seen = []
    for _ in range(10):
        seen.append(seat.item["id"])
        seat.press("a")
    assert len(set(seen)) == 10
    answered = seat.lab.ask("GET", "/review/?image=ten&state=accepted&limit=100", "ann").json()
    assert {item["id"] for item in answered["places"]} >= set(seen)
    seat.page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('10 of ')")
    seat.press("u")  # there is no step in the draft: the last answer is taken back
    assert seat.item["id"] == seen[-1]
    assert "withdrawn" in seat.message


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


def test_a_whole_sitting(seat: Seat) -> None:
    """Connect, ten regions, a pen, a path, the server restarted in between, submit, reload."""
    seat.connect().choose("sitting")
    seen = []
    for number in range(10):
        seen.append(seat.item["id"])
        if number == 3:
            seat.press("f")
            seat.stroke()
            seat.press("Escape")
        if number == 5:
            launch, log = seat.lab.server.launch, seat.lab.server.log
            seat.lab.server.stop()
            seat.lab.server = LabelServer(launch, log=log).__enter__()
        if number == 7:
            i0, i1, j0, j1, k0, k1 = seat.item["box"]
            seat.press("p")
            for i in (i0 + 2, i1 - 3):
                seat.click_voxel((i, (j0 + j1) // 2, (k0 + k1) // 2))
            assert "path" in seat.message, seat.message
            seat.press("Escape")
        seat.press("a")
    assert len(set(seen)) == 10
    states = {p["id"]: p["state"] for p in seat.lab.ask("GET", "/review/?image=sitting&limit=500", "ann").json()["places"]}
    assert [states[name] for name in seen].count("fixed") == 2
    assert [states[name] for name in seen].count("accepted") == 8
    seat.page.click("#submit")
    seat.idle()
    assert "Submitted as revision" in seat.message
    mask = seat.mask()
    seat.page.reload()
    seat.page.wait_for_function("() => window.minivess.review?.image?.name === 'sitting'", timeout=300_000)
    seat.idle()
    assert seat.page.inner_text("#progress").startswith("10 of ")
    assert (seat.item or {}).get("id") not in seen
    np.testing.assert_array_equal(seat.mask(), mask)
    label = seat.lab.folder / "sitting-label.nii.gz"
    label.write_bytes(seat.lab.ask("GET", "/datastore/label?label=sitting&tag=final", "ann").content)
    np.testing.assert_array_equal(read_volume(label).array, mask)


def test_a_region_is_chosen_from_the_list_and_an_answered_one_only_looked_at(seat: Seat) -> None:
    seat.connect().choose("listed")
    first = seat.item["id"]
    row = seat.page.locator("#queue tr").nth(4)
    chosen = row.get_attribute("data-id")
    row.get_by_role("button").focus()
    seat.page.evaluate("() => window.minivess.review.regions.list()")  # fetched again in the background: the focus stays
    seat.press("Enter")
    assert seat.item["id"] == chosen != first
    assert row.get_attribute("aria-current") == "true"
    seat.press("a")
    assert seat.lab.ask("GET", f"/review/places/{chosen}", "ann").json()["state"] == "accepted"
    assert seat.item["id"] == first
    seat.page.locator(f'#queue tr[data-id="{chosen}"] button').click()
    seat.idle()
    assert "answered: accepted, by ann" in seat.message
    assert seat.item is None
    seat.press("n")
    assert seat.item["id"] == first
    seat.page.click("#nextImage")
    seat.page.wait_for_function(READY, timeout=300_000)


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


def test_a_token_that_is_not_valid_any_more_is_asked_for_and_work_is_kept(seat: Seat) -> None:
    people = Accounts(accounts_path(seat.lab.folder))
    seat.lab.tokens["dan"] = people.add("dan", "annotator")
    seat.user = "dan"
    seat.connect().choose("token")
    item = seat.item
    people.remove("dan")
    seat.press("a")
    assert seat.page.is_visible("#connect")
    assert "token is not valid" in seat.page.inner_text("#connectMessage")
    seat.lab.tokens["dan"] = people.add("dan", "annotator")
    seat.page.fill("#token", seat.lab.tokens["dan"])
    seat.page.click("#connect button")
    seat.page.wait_for_selector("#work", state="visible")
    seat.idle()
    assert seat.page.evaluate("() => window.minivess.review.image.name") == "token"
    assert seat.item["id"] != item["id"]
    assert seat.lab.ask("GET", f"/review/places/{item['id']}", "dan").json()["state"] == "accepted"


def test_an_image_that_was_deleted_is_told_and_the_mask_can_be_saved(seat: Seat) -> None:
    seat.connect().choose("gone")
    seat.press("f")
    seat.stroke()
    mask = seat.mask()
    (seat.lab.folder / "studies" / "gone.nii.gz").unlink()
    seat.lab.ask("GET", "/datastore/?output=all", "ann")
    seat.press("a")
    assert "gone" in seat.message
    with seat.page.expect_download() as download:
        seat.page.click("#save")
    saved = seat.lab.folder / "saved.nii"
    download.value.save_as(saved)
    np.testing.assert_array_equal(read_volume(saved).array, mask)


def test_on_a_tablet_by_touch(chromium: Browser, lab: Lab) -> None:
    context = chromium.new_context(viewport={"width": 820, "height": 1180}, has_touch=True)
    seat = Seat(context.new_page(), lab).connect().choose("touch")
    before, item = seat.mask(), seat.item
    seat.page.locator('label:has(input[value="pen"])').tap()
    x, y = seat.middle()
    devtools = context.new_cdp_session(seat.page)
    for kind, dx in (("touchStart", 0), ("touchMove", 10), ("touchMove", 25), ("touchMove", 40), ("touchEnd", 0)):
        points = [] if kind == "touchEnd" else [{"x": x + dx, "y": y + dx / 4}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        seat.drawn()  # the viewer waits whether it is a gesture of two fingers
    seat.page.wait_for_function("() => document.getElementById('message').textContent.startsWith('Drawn')")
    seat.idle()
    drawn = seat.mask()
    assert (drawn != before).any()
    np.testing.assert_array_equal(drawn, seat.server_mask("touch"))
    seat.picture("page-tablet")
    seat.page.locator("#accept").tap()
    seat.page.wait_for_function(
        f"() => window.minivess.review.regions.current && window.minivess.review.regions.current.id !== '{item['id']}'"
    )
    assert lab.ask("GET", f"/review/places/{item['id']}", "ann").json()["state"] == "fixed"
    context.close()


def test_a_server_that_went_away_costs_nothing(seat: Seat) -> None:
    seat.connect().choose("away")
    item = seat.item
    launch, log = seat.lab.server.launch, seat.lab.server.log
    seat.lab.server.stop()
    seat.press("f")
    seat.stroke()
    assert "Drawn, and unsent" in seat.message
    drawn = seat.mask()
    assert drawn.any()
    seat.press("a")
    assert "unsent answers stay in this browser" in seat.message
    assert "(2 unsent)" in seat.page.title()
    another = seat.item  # of the list that was fetched before
    assert another["id"] != item["id"]
    seat.press("n")
    assert "does not answer" in seat.message
    seat.press("a")
    assert "(3 unsent)" in seat.page.title()
    seat.lab.server = LabelServer(launch, log=log).__enter__()
    seat.page.evaluate("() => sessionStorage.clear()")
    Seat(seat.page, seat.lab, "bob").connect().choose("away")  # somebody else at the same browser sends nothing of it
    assert seat.lab.ask("GET", f"/review/places/{item['id']}", "ann").json()["state"] == "leased"
    seat.lab.ask("POST", f"/review/places/{another['id']}/release", "bob")
    seat.page.evaluate("() => sessionStorage.clear()")
    seat.connect().choose("away")  # what was unsent is sent
    assert "unsent" not in seat.page.title()
    told = seat.lab.ask("GET", f"/review/places/{item['id']}", "ann").json()
    assert (told["state"], told["by"]) == ("fixed", "ann")
    assert seat.lab.ask("GET", f"/review/places/{another['id']}", "ann").json()["state"] == "accepted"
    i0, i1, j0, j1, k0, k1 = item["box"]
    np.testing.assert_array_equal(seat.server_mask("away", "mask")[i0:i1, j0:j1, k0:k1], drawn[i0:i1, j0:j1, k0:k1])


def test_undo_and_redo_show_what_they_change_in_another_region(seat: Seat) -> None:
    seat.connect().choose("redone")
    before, item = seat.mask(), seat.item
    seat.press("f")
    seat.stroke()
    drawn = seat.mask()
    seat.press("Escape")
    seat.press("s")
    assert "Region skipped" in seat.message
    other = seat.item["id"]
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
    assert seat.item["id"] == other


def test_an_image_that_cannot_be_opened_leaves_the_one_before(seat: Seat) -> None:
    seat.connect().choose("plain")
    mask = seat.mask()
    (seat.lab.folder / "studies" / "lost.nii.gz").unlink()
    seat.page.select_option("#image", "lost")
    seat.page.wait_for_function("() => document.getElementById('message').classList.contains('bad')")
    seat.idle()
    assert seat.page.evaluate("() => [window.minivess.review.image.name, document.getElementById('image').value]") == [
        "plain",
        "plain",
    ]
    seat.page.click("#submit")
    seat.idle()
    assert "Submitted" in seat.message
    label = seat.lab.folder / "plain-label.nii.gz"
    label.write_bytes(seat.lab.ask("GET", "/datastore/label?label=plain&tag=final", "ann").content)
    np.testing.assert_array_equal(read_volume(label).array, mask)
    assert seat.lab.ask("GET", "/labels/lost", "ann").json()["revisions"] == []


def test_what_others_have_answered_since_the_image_was_opened_is_submitted(chromium: Browser, lab: Lab) -> None:
    context = chromium.new_context(viewport={"width": 1200, "height": 760})
    seat = Seat(context.new_page(), lab).connect("shared")
    place = lab.ask("POST", "/review/next?image=shared", "bob").json()["place"]
    file = lab.folder / "shared.nrrd"
    file.write_bytes(lab.ask("GET", "/review/images/shared/mask?format=nrrd", "bob").content)
    mask, box = read_volume(file), Box(*place["box"])
    assert mask.array[box.slices].any()
    empty = write_volume(mask.with_array(np.zeros_like(mask.array)), lab.folder / "empty.nii.gz")
    files = {"label": ("empty.nii.gz", empty.read_bytes())}
    lab.ask("POST", f"/review/places/{place['id']}/answer", "bob", data={"verdict": "fixed"}, files=files).raise_for_status()
    seat.page.on("dialog", lambda dialog: dialog.accept())
    seat.page.click("#submit")
    seat.idle()
    assert "Submitted" in seat.message
    file = lab.folder / "shared-label.nii.gz"
    file.write_bytes(lab.ask("GET", "/datastore/label?label=shared&tag=final", "ann").content)
    assert not read_volume(file).array[box.slices].any()
    context.close()


def test_a_label_of_a_review_that_is_not_done_is_submitted_only_when_that_is_meant(chromium: Browser, lab: Lab) -> None:
    context = chromium.new_context(viewport={"width": 1200, "height": 760})
    seat = Seat(context.new_page(), lab).connect("hidden")
    asked: list[str] = []
    seat.page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    seat.page.click("#submit")
    seat.idle()
    assert "Nothing was submitted" in seat.message
    assert "regions are open" in asked[0]
    assert lab.ask("GET", "/labels/hidden", "ann").json()["revisions"] == []
    context.close()


@pytest.mark.parametrize("held", ["**/review/images/slow", "**/info/", "**/infer/**"])
def test_an_image_that_is_chosen_meanwhile_goes_first(seat: Seat, held: str) -> None:
    """The page predicts an image that nobody asked for; another one is chosen before the page or the server knows of the job."""
    seat.page.route(held, lambda _route: None)
    seat.page.goto(f"{seat.lab.server.url}/app/")
    seat.page.evaluate("() => sessionStorage.setItem('minivess.image', 'slow')")
    seat.page.fill("#token", seat.lab.tokens["ann"])
    with seat.page.expect_request(held):
        seat.page.click("#connect button")
    if held.endswith("slow"):
        seat.page.select_option("#image", "wanted")
    else:
        seat.page.wait_for_function("() => window.minivess.review?.prediction")
        with seat.page.expect_request(lambda request: request.method == "DELETE"):
            seat.page.select_option("#image", "wanted")
    seat.page.unroute(held)  # lets what was held go on
    seat.page.wait_for_function(f"() => window.minivess.review.image?.name === 'wanted' && ({READY})()", timeout=300_000)
    assert not seat.lab.ask("GET", "/review/images/slow", "ann").json()["predicted"]


def test_somebody_else_was_faster(seat: Seat) -> None:
    seat.connect().choose("faster")
    item = seat.item
    lab = seat.lab
    lab.ask("POST", f"/review/places/{item['id']}/release", "ann")
    taken = lab.ask("POST", "/review/next?image=faster", "bob").json()["place"]
    assert taken["id"] == item["id"]
    assert lab.ask("POST", f"/review/places/{item['id']}/answer", "bob", data={"verdict": "accepted"}).status_code == 200
    seat.press("a")
    assert "answered by bob" in seat.message
    assert seat.item["id"] != item["id"]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(seat: Seat, look: str) -> None:
    seat.page.emulate_media(color_scheme=look)
    seat.page.goto(f"{seat.lab.server.url}/app/")
    assert serious(seat) == []
    seat.connect()
    seat.press("o")
    assert seat.page.is_visible("#legend")
    assert serious(seat) == []
    seat.picture(f"page-{look}")
    seat.press("o")
    assert not seat.page.is_visible("#legend")


def test_a_tool_that_the_server_does_not_offer_is_hidden(seat: Seat) -> None:
    def without_cut(route: Route) -> None:
        reply = route.fetch()
        stated = reply.json()
        stated["tools"] = [tool for tool in stated["tools"] if tool["name"] != "cut"]
        route.fulfill(response=reply, json=stated)

    seat.page.route("**/review/capabilities", without_cut)
    seat.connect()
    shown = {name: seat.page.is_visible(f'label:has(input[value="{name}"])') for name in ("look", "pen", "path", "cut")}
    assert shown == {"look": True, "pen": True, "path": True, "cut": False}
    seat.press("x")
    assert seat.page.is_checked('input[value="look"]')


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


def serious(seat: Seat) -> list[tuple[str, str]]:
    found = Axe().run(seat.page).response["violations"]
    return [(v["id"], v["help"]) for v in found if v["impact"] in ("serious", "critical")]


def test_the_study__who_is_how_far_and_a_click_opens_an_image(seat: Seat) -> None:
    seat.connect().choose("listed")
    seat.press("a")
    seat.page.click("#study")
    row = seat.page.locator("#studyImages tr", has=seat.page.get_by_role("button", name="listed", exact=True))
    row.wait_for()
    assert seat.page.evaluate("location.hash") == "#study"
    told = next(i for i in seat.lab.ask("GET", "/review/study", "eve").json()["images"] if i["image"] == "listed")
    cells = row.locator("td").all_inner_texts()
    assert cells == [
        "listed",
        "in review",
        told["quality"],
        f"{told['answered']} of {told['places']}",
        f"{told['expected_errors_left']:.1f}",
        "ann",
        "",
        "",
    ]
    assert serious(seat) == []
    seat.picture("page-study")
    seat.page.keyboard.press("s")  # no answer of the region behind it
    seat.page.fill("#studySearch", "OBLI")
    seat.page.wait_for_function("() => document.getElementById('studySummary').textContent.startsWith('Images: 1.')")
    seat.page.get_by_role("button", name="oblique", exact=True).click()
    seat.page.wait_for_function("() => window.minivess.review.image?.name === 'oblique'", timeout=300_000)
    seat.idle()
    assert not seat.page.is_visible("#studyView")
    assert seat.lab.ask("GET", "/review/study?search=listed", "eve").json()["images"][0]["answered"] == told["answered"]


def saved_from_the_study(seat: Seat, image: str, button: str) -> Path:
    """Submit the label of an image, press a button of its row in the study view, and return the file that is saved."""
    seat.connect(image)
    seat.page.on("dialog", lambda dialog: dialog.accept())
    seat.page.click("#submit")
    seat.idle()
    seat.page.click("#study")
    with seat.page.expect_download() as download:
        seat.page.get_by_role("button", name=button).click()
    file = seat.lab.folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_the_study__a_label_is_saved_as_a_file(seat: Seat) -> None:
    file = saved_from_the_study(seat, "touch", "Save the label of touch as a file")
    assert file.name == "touch-label.nii.gz"
    np.testing.assert_array_equal(read_volume(file).array > 0, seat.mask() > 0)


def test_the_study__vessels_of_a_label_are_measured(seat: Seat) -> None:
    file = saved_from_the_study(seat, "touch", "Measure the vessels of touch, and save a table")
    (row,) = csv.DictReader(file.read_text().splitlines())
    spacing_um = read_volume(seat.lab.folder / "studies" / "touch.nii.gz", unit="um").spacing_um
    assert float(row["volume_mm3"]) == pytest.approx((seat.mask() > 0).sum() * np.prod(spacing_um) / 1e9)
    assert float(row["length_mm"]) > 0
    assert seat.page.inner_text("#studySummary").startswith("touch: ")


def test_steps_are_listed_and_undone_back_to_one_of_them(seat: Seat) -> None:
    seat.connect("undone")
    before = seat.mask()
    seat.press("f")
    seat.page.click("#steps summary")
    seat.page.wait_for_function("() => document.getElementById('noSteps').textContent.startsWith('No step')")
    for count in (1, 2, 3):
        seat.stroke(20 + 12 * count)
        seat.page.wait_for_function(f"() => document.querySelectorAll('#stepRows li').length === {count}")
    assert serious(seat) == []
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


def test_what_is_suspected_is_drawn_and_walked_through(seat: Seat) -> None:
    seat.connect("large")
    region = next(
        place for place in seat.lab.ask("GET", "/review/?image=large", "ann").json()["places"] if "more" in place["reason"]
    )
    seat.page.click(f'#queue tr[data-id="{region["id"]}"] button')
    seat.idle()
    told = seat.lab.ask("GET", f"/review/places/{region['id']}/errors", "ann").json()
    assert region["reason"].endswith(f"and {len(told['errors']) - 1} more")
    seat.page.wait_for_function(f"() => window.minivess.viewer.suspects.length === {len(told['errors'])}")
    before = seat.page.locator("#frame").screenshot()
    for number in (*range(2, len(told["errors"]) + 1), 1):
        seat.press("g")
        assert f"Error {number} of {len(told['errors'])}" in seat.message
        assert seat.page.evaluate("() => window.minivess.viewer.crosshair()") == told["errors"][number - 1]["centre"]
    seat.picture("page-errors")
    seat.page.evaluate("() => window.minivess.viewer.suspect([], 0)")
    seat.drawn()
    assert seat.page.locator("#frame").screenshot() != before  # they were drawn


def test_what_is_suspected_is_drawn_in_the_first_region_of_an_image(seat: Seat) -> None:
    seat.connect("large")
    seat.page.wait_for_function("() => window.minivess.viewer.suspects.length > 0")
    seat.drawn()
    drawn = seat.page.locator("#frame").screenshot()
    seat.page.evaluate("() => window.minivess.viewer.suspect([], 0)")
    seat.drawn()
    assert seat.page.locator("#frame").screenshot() != drawn


def test_a_click_tool_ends_with_the_answer_and_a_note_with_enter(seat: Seat) -> None:
    seat.connect().choose("away")
    seat.press("d")
    assert seat.page.is_checked('input[value="remove"]')
    seat.page.focus("#note")
    seat.page.keyboard.press("Enter")
    seat.press("a")
    assert seat.page.is_checked('input[value="look"]')
    seat.press("f")
    seat.press("s")
    assert seat.page.is_checked('input[value="pen"]')


def test_an_answer_is_withdrawn_from_the_list(seat: Seat) -> None:
    seat.connect().choose("withdrawn")
    first = seat.item["id"]
    for _ in range(3):
        seat.press("a")
    seat.page.click(f'#queue tr[data-id="{first}"] button')
    seat.idle()
    assert "Press U to withdraw that answer" in seat.message
    seat.press("u")
    assert seat.item["id"] == first
    assert "withdrawn" in seat.message
    assert seat.lab.ask("GET", f"/review/places/{first}", "bob").json()["state"] == "leased"


def test_the_probability_under_the_pointer(seat: Seat) -> None:
    seat.connect("large")
    seat.page.wait_for_function("() => window.minivess.review.suspects.probabilities")
    seat.page.mouse.move(*seat.middle())
    seat.page.wait_for_function("() => /^vessel with \\d+ %$/.test(document.getElementById('point').textContent)")
    seat.page.mouse.move(5, 300)  # outside the frame
    seat.page.wait_for_function("() => document.getElementById('point').textContent === ''")


def test_the_map_shows_all_regions_and_goes_to_the_one_clicked(seat: Seat) -> None:
    seat.connect("large")
    other = next(
        item for item in seat.lab.ask("GET", "/review/?image=large", "ann").json()["places"] if item["id"] != seat.item["id"]
    )
    x, y, width, height = seat.page.evaluate(
        "(item) => { const { map } = window.minivess.review; const [x, y, w, h] = map.rectangle(item); "
        "const s = map.canvas.clientWidth / map.canvas.width; return [x * s, y * s, w * s, h * s] }",
        other,
    )
    seat.page.click("#map", position={"x": x + width / 2, "y": y + height / 2})
    seat.idle()
    hit = seat.item
    assert hit["box"][0] <= (other["box"][0] + other["box"][1]) / 2 < hit["box"][1]
    seat.picture("page-map")
    seat.page.uncheck("#showMap")
    assert not seat.page.is_visible("#map")


def test_five_slices_as_one(seat: Seat) -> None:
    seat.connect("large")
    before = seat.page.locator("#gl").screenshot()
    seat.press("v")
    assert seat.page.is_checked("#slab")
    assert "brightest of five" in seat.page.inner_text("#slice")
    seat.drawn()
    assert seat.page.locator("#gl").screenshot() != before
    seat.press("v")
    assert not seat.page.is_checked("#slab")
    assert "brightest" not in seat.page.inner_text("#slice")


def test_a_note_goes_with_the_answer_and_its_letters_are_no_keys(seat: Seat) -> None:
    seat.connect().choose("listed")
    item = seat.item
    seat.page.fill("#note", "")
    seat.page.type("#note", "as blurred as the last one")
    assert seat.item["id"] == item["id"]  # no letter was a key
    seat.page.click("#skip")
    seat.idle()
    told = seat.lab.ask("GET", f"/review/places/{item['id']}", "bob").json()
    assert (told["state"], told["answer"]["note"]) == ("skipped", "as blurred as the last one")
    assert seat.page.input_value("#note") == ""
    seat.page.select_option("#filter", "answered")
    seat.page.click(f'#queue tr[data-id="{item["id"]}"] button')
    seat.idle()
    assert "as blurred as the last one" in seat.message
    seat.page.select_option("#filter", "open")
    assert not seat.page.locator(f'#queue tr[data-id="{item["id"]}"]').count()


def test_help_is_told_of_once_and_shows_the_keys(seat: Seat) -> None:
    seat.page.goto(f"{seat.lab.server.url}/app/")
    seat.page.evaluate("() => localStorage.removeItem('minivess.helped')")
    seat.connect("plain")
    assert "First time here? Press ?" in seat.message
    seat.page.keyboard.press("?")
    assert seat.page.is_visible("#helpView")
    assert serious(seat) == []
    seat.picture("page-help")
    seat.page.keyboard.press("a")  # answers nothing behind it
    seat.page.keyboard.press("Escape")
    assert not seat.page.is_visible("#helpView")
    seat.page.reload()
    seat.page.wait_for_function(READY, timeout=300_000)
    seat.idle()
    assert "First time" not in seat.message


def test_the_model__an_admin_trains_and_goes_back_an_annotator_reads(chromium: Browser, lab: Lab, seat: Seat) -> None:
    seat.connect()
    seat.page.click("#study")
    assert not seat.page.is_visible("#train")
    assert "training" in seat.page.inner_text("#trained").lower()
    context = chromium.new_context()
    admin = Seat(context.new_page(), lab, "ada").connect()
    admin.page.on("dialog", lambda dialog: dialog.accept())
    admin.page.click("#study")
    admin.page.click("#rollBack")
    admin.page.wait_for_function("() => document.getElementById('trained').textContent.includes('no earlier model')")
    admin.page.click("#train")
    admin.page.wait_for_function("() => document.getElementById('train').textContent === 'Stop training'")
    admin.page.click("#train")  # stop
    admin.page.wait_for_function("() => document.getElementById('train').textContent === 'Train'", timeout=300_000)
    context.close()


#: Replies to answers and prompts come a second late.
SLOW = """() => { const { fetch } = window; window.fetch = async (path, ...given) => {
    if (/answer$|prompt$/.test(path)) await new Promise((done) => setTimeout(done, 1000)); return fetch(path, ...given) } }"""


def answered(seat: Seat, image: str) -> list[str]:
    places = seat.lab.ask("GET", f"/review/?image={image}&limit=1000", "eve").json()["places"]
    return sorted(place["id"] for place in places if place["state"] in ("accepted", "fixed", "skipped"))


def test_a_key_answers_the_region_on_the_screen_and_no_other(seat: Seat) -> None:
    seat.connect().choose("pressed")
    seat.page.evaluate(SLOW)
    first, before = seat.item, answered(seat, "pressed")
    seat.page.keyboard.press("a")
    seat.page.keyboard.press("a")  # before the reply is back
    seat.idle()
    assert answered(seat, "pressed") == sorted([*before, first["id"]])
    assert "Another region is shown now" in seat.message
    seat.page.select_option("#image", "ten")
    seat.page.keyboard.press("s")  # the image before is still on the screen
    seat.page.wait_for_function("() => window.minivess.review.image?.name === 'ten'")
    seat.idle()
    assert seat.item["id"] not in answered(seat, "ten")
    seat.choose("pressed")
    assert answered(seat, "pressed") == sorted([*before, first["id"]])


def test_a_click_is_for_the_tool_that_was_taken_then(seat: Seat) -> None:
    seat.connect().choose("pressed")
    asked: list[dict[str, object]] = []
    seat.page.on("request", lambda request: asked.append(request.post_data_json) if request.url.endswith("/prompt") else None)
    seat.page.evaluate(SLOW)
    i0, i1, j0, j1, k0, k1 = seat.item["box"]
    seat.press("p")
    item, y = seat.item, (j0 + j1) // 2
    for x in (i0 + 2, i1 - 3):
        seat.page.evaluate("(ijk) => window.minivess.viewer.onClick(ijk)", [x, y, (k0 + k1) // 2])
    seat.page.keyboard.press("a")  # the path is not back yet
    seat.idle()
    assert [(one["tool"], len(one["points"])) for one in asked] == [("path", 2)]
    (found,) = (
        p for p in seat.lab.ask("GET", "/review/?image=pressed&limit=1000", "eve").json()["places"] if p["id"] == item["id"]
    )
    assert found["state"] == "fixed"


def test_a_note_stays_with_its_region(seat: Seat) -> None:
    seat.connect().choose("pressed")
    first = seat.item["id"]
    seat.page.fill("#note", "look here again")
    seat.page.locator("#gl").focus()
    other = seat.page.locator(f"#queue tr:not([data-id='{first}'])", has_text="pending").first
    other.locator("button").click()
    seat.idle()
    assert seat.item["id"] != first
    assert seat.page.input_value("#note") == ""
    seat.page.locator(f"#queue tr[data-id='{first}'] button").click()
    seat.idle()
    assert seat.page.input_value("#note") == "look here again"
    seat.page.locator("#note").focus()
    seat.page.evaluate(
        "() => document.getElementById('note').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', isComposing: true }))"
    )
    assert seat.page.evaluate("() => document.activeElement.id") == "note"


def test_keys_work_on_a_keyboard_without_latin_letters(seat: Seat) -> None:
    seat.connect().choose("pressed")
    seat.page.evaluate("() => document.dispatchEvent(new KeyboardEvent('keydown', { key: 'ь', code: 'KeyM', bubbles: true }))")
    assert seat.page.get_attribute("#mask", "aria-pressed") == "false"
    seat.page.evaluate("() => document.dispatchEvent(new KeyboardEvent('keydown', { key: 'ь', code: 'KeyM', bubbles: true }))")
    assert seat.page.get_attribute("#mask", "aria-pressed") == "true"


@pytest.mark.parametrize(("width", "height"), [(820, 1180), (720, 450)])
def test_accept_stays_where_it_is_in_a_small_window(seat: Seat, width: int, height: int) -> None:
    seat.page.set_viewport_size({"width": width, "height": height})
    seat.connect().choose("pressed")
    place = seat.page.locator("#accept").bounding_box()
    for _ in range(3):
        seat.press("s")
    assert seat.page.locator("#accept").bounding_box() == place
    rows, submit = seat.page.locator("#list").bounding_box(), seat.page.locator("#submit").bounding_box()
    assert submit["y"] >= rows["y"] + rows["height"] - 1
