"""The page: regions are answered by keys, from the list and by touch, alone and beside somebody else; notes; what is submitted.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import numpy as np
from page.seat import READY, Seat, serious_findings
from playwright.sync_api import Browser
from server.lab import Lab

from minivess.server import LabelServer
from minivess.volume import Box, read_volume, write_volume

IMAGES = ("ten", "sitting", "listed", "touch", "shared", "hidden", "faster", "withdrawn", "pressed", "away", "plain")


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


def test_a_double_click_answers_one_region(seat: Seat) -> None:
    seat.connect().choose("pressed")
    before = len(answered(seat, "pressed"))
    seat.shown_for(500)
    seat.page.click("#accept", click_count=2, delay=20)
    seat.idle()
    seat.shown_for(-60_000)
    seat.page.click("#accept")  # soon after: the region has just come up
    seat.idle()
    assert len(answered(seat, "pressed")) == before + 1
    seat.shown_for(500)
    seat.page.click("#accept")
    seat.idle()
    assert len(answered(seat, "pressed")) == before + 2


def test_a_tool_gives_the_keys_to_the_picture(seat: Seat) -> None:
    """Enter clicks with a tool, whatever button was pressed before."""
    seat.connect().choose("pressed")
    before = answered(seat, "pressed")
    seat.page.focus("#accept")
    seat.press("p")
    seat.press("Enter")
    assert answered(seat, "pressed") == before
    assert "Click on the other end" in seat.message
    seat.press("Escape")
    assert seat.message == ""
    seat.page.locator('label:has(input[value="path"])').click()
    assert seat.page.evaluate("() => document.activeElement.id") == "gl"


def test_drawing_keeps_a_region_reserved_and_says_who_has_it_otherwise(seat: Seat) -> None:
    seat.connect().choose("pressed")
    item = seat.item["id"]
    seat.press("f")
    seat.lab.ask("POST", f"/review/places/{item}/release", "ann").raise_for_status()  # as after a long pause
    seat.stroke()
    assert "Drawn" in seat.message
    place = seat.lab.ask("GET", f"/review/places/{item}", "ann").json()
    assert (place["state"], place["by"]) == ("leased", "ann")
    seat.lab.ask("POST", f"/review/places/{item}/release", "ann").raise_for_status()
    seat.lab.ask("POST", f"/review/places/{item}/take", "bob").raise_for_status()
    seat.stroke(20)
    assert "This region is reserved for bob now" in seat.message
    seat.press("u")
    seat.press("u")
    seat.press("Escape")
    seat.lab.ask("POST", f"/review/places/{item}/release", "bob").raise_for_status()


def test_the_list_follows_the_current_region(seat: Seat) -> None:
    seat.connect().choose("pressed")
    seat.show_region(-1)
    row, list_ = (seat.page.locator(name).bounding_box() for name in ('#queue tr[aria-current="true"]', "#list"))
    assert row is not None
    assert list_ is not None
    assert list_["y"] - 1 <= row["y"] <= row["y"] + row["height"] <= list_["y"] + list_["height"] + 1


def test_two_fingers_magnify_and_do_not_draw(chromium: Browser, lab: Lab) -> None:
    context = chromium.new_context(viewport={"width": 820, "height": 1180}, has_touch=True)
    seat = Seat(context.new_page(), lab).connect().choose("touch")
    seat.page.locator('label:has(input[value="pen"])').tap()
    before, slice_ = seat.mask(), seat.page.inner_text("#slice")
    zoom = "() => window.minivess.viewer.nv.scene.pan2Dxyzmm[3]"
    near = seat.page.evaluate(zoom)
    x, y = seat.middle()
    devtools = context.new_cdp_session(seat.page)
    one, two = [{"x": x, "y": y, "id": 0}], [{"x": x, "y": y, "id": 0}, {"x": x + 30, "y": y, "id": 1}]
    apart = [{"x": x - 20, "y": y, "id": 0}, {"x": x + 60, "y": y + 5, "id": 1}]
    for kind, points in (("touchStart", one), ("touchStart", two), ("touchMove", apart), ("touchEnd", [])):
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        seat.drawn()
    seat.idle()
    assert seat.page.evaluate(zoom) > 1.5 * near
    assert seat.page.inner_text("#slice") == slice_
    np.testing.assert_array_equal(seat.mask(), before)
    context.close()


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


def test_a_note_goes_with_the_answer_and_its_letters_are_no_keys(seat: Seat) -> None:
    seat.connect().choose("listed")
    item = seat.item
    seat.page.fill("#note", "")
    seat.page.type("#note", "as blurred as the last one")
    assert seat.item["id"] == item["id"]  # no letter was a key
    seat.shown_for(500)  # a click as soon as the region is shown is the second one of a double click
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


def test_a_note_stays_with_its_region(seat: Seat) -> None:
    seat.connect().choose("pressed")
    first = seat.item["id"]
    seat.page.fill("#note", "look here again")
    seat.page.locator("#gl").focus()
    other = seat.page.locator(f"#queue tr:not([data-id='{first}'])", has_text="open").first
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


def test_keys_work_on_a_keyboard_without_latin_letters(seat: Seat) -> None:
    seat.connect().choose("pressed")
    seat.page.evaluate("() => document.dispatchEvent(new KeyboardEvent('keydown', { key: 'ь', code: 'KeyM', bubbles: true }))")
    assert seat.page.get_attribute("#mask", "aria-pressed") == "false"
    seat.page.evaluate("() => document.dispatchEvent(new KeyboardEvent('keydown', { key: 'ь', code: 'KeyM', bubbles: true }))")
    assert seat.page.get_attribute("#mask", "aria-pressed") == "true"


def test_help_is_told_of_once_and_shows_the_keys(seat: Seat) -> None:
    seat.page.goto(f"{seat.lab.server.url}/app/")
    seat.page.evaluate("() => localStorage.removeItem('minivess.helped')")
    seat.connect("plain")
    assert "First time here? Press ?" in seat.message
    seat.page.keyboard.press("?")
    assert seat.page.is_visible("#helpView")
    assert serious_findings(seat.page) == []
    seat.picture("page-help")
    seat.page.keyboard.press("a")  # answers nothing behind it
    seat.page.keyboard.press("Escape")
    assert not seat.page.is_visible("#helpView")
    seat.page.reload()
    seat.page.wait_for_function(READY, timeout=300_000)
    seat.idle()
    assert "First time" not in seat.message
