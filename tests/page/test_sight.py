"""The page: what is suspected, the map, the probability, slices as one; nothing in the way of anybody, at any size of the window.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import pytest
from page.seat import Seat, serious_findings
from playwright.sync_api import Route

IMAGES = ("plain", "large", "pressed")


@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(seat: Seat, look: str) -> None:
    seat.page.emulate_media(color_scheme=look)
    seat.page.goto(f"{seat.lab.server.url}/app/")
    assert serious_findings(seat.page) == []
    seat.connect()
    seat.press("o")
    assert seat.page.is_visible("#legend")
    assert serious_findings(seat.page) == []
    seat.picture(f"page-{look}")
    seat.press("o")
    assert not seat.page.is_visible("#legend")


def test_a_message_that_is_longer_than_its_place_is_read_by_keys(seat: Seat) -> None:
    seat.connect("large")
    slice_ = seat.page.inner_text("#slice")
    seat.page.evaluate("() => { document.getElementById('message').textContent = 'Many words. '.repeat(60) }")
    seat.page.focus("#message")
    seat.page.keyboard.press("ArrowDown")
    seat.page.wait_for_function("() => document.getElementById('message').scrollTop > 0")
    assert seat.page.inner_text("#slice") == slice_


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
