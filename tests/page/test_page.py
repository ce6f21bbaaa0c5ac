"""The page: connect, look, mend with pen and path, answer by keys, submit; a server that goes away; nothing lost, no other host.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from page.seat import Seat
from playwright.sync_api import Browser
from server.lab import Lab

from minivess.server import LabelServer
from minivess.volume import read_volume


@pytest.fixture
def seat(chromium: Browser, lab: Lab) -> Iterator[Seat]:
    context = chromium.new_context(viewport={"width": 1200, "height": 760})
    page = context.new_page()
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield Seat(page, lab)
    context.close()
    assert broken == []
    assert {url.split("/")[2] for url in asked if url.startswith("http")} <= {lab.server.url.split("/")[2]}, "only this server"


def test_a_wrong_token_is_told_in_words(seat: Seat) -> None:
    seat.page.goto(f"{seat.lab.server.url}/app/")
    seat.page.fill("#token", "not-a-token")
    seat.page.click("#connect button")
    seat.page.wait_for_function("() => document.getElementById('progress').textContent.includes('token is not valid')")
    assert seat.page.is_visible("#connect")


def test_ten_places_by_keys(seat: Seat) -> None:
    seat.connect().choose("plain")
    seen = []
    for _ in range(10):
        seen.append(seat.place["id"])
        seat.press("a")
    assert len(set(seen)) == 10
    answered = seat.lab.ask("GET", "/review/?image=plain&state=accepted&limit=100", "ann").json()
    assert {place["id"] for place in answered["places"]} >= set(seen)
    seat.page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('10 of ')")
    seat.press("u")  # there is no step in the draft: the last answer is taken back
    assert seat.place["id"] == seen[-1]
    assert "taken back" in seat.message


@pytest.mark.parametrize("image", ["plain", "mirrored", "oblique"])
def test_a_pen_stroke_and_a_path_reach_the_server_voxel_by_voxel(seat: Seat, image: str) -> None:
    seat.connect().choose(image)
    np.testing.assert_array_equal(seat.mask(), seat.kept(image))
    before, place = seat.mask(), seat.place
    seat.press("f")
    seat.stroke()
    assert seat.message.startswith("Drawn")
    drawn = seat.mask()
    i0, i1, j0, j1, k0, k1 = place["box"]
    inside = np.zeros(drawn.shape, bool)
    inside[i0:i1, j0:j1, k0:k1] = True
    assert (drawn != before)[inside].sum() > 5
    np.testing.assert_array_equal(drawn[~inside], before[~inside])
    np.testing.assert_array_equal(drawn, seat.kept(image))
    if os.environ.get("MINIVESS_PICTURES"):
        seat.page.screenshot(path=Path(os.environ["MINIVESS_PICTURES"]) / f"page-{image}.png")
    seat.press("p")
    middle = (j0 + j1) // 2, (k0 + k1) // 2
    seat.click_voxel((i0 + 2, *middle))
    assert "other end" in seat.message
    seat.click_voxel((i1 - 3, *middle))
    assert "path" in seat.message, seat.message
    traced = seat.mask()
    np.testing.assert_array_equal(traced, seat.kept(image))
    seat.press("u")
    np.testing.assert_array_equal(seat.mask(), drawn)
    seat.press("r")
    np.testing.assert_array_equal(seat.mask(), traced)
    seat.press("a")
    assert seat.lab.ask("GET", f"/review/places/{place['id']}", "ann").json()["state"] == "fixed"
    np.testing.assert_array_equal(seat.kept(image, "mask")[inside], traced[inside])
    seat.page.click("#submit")
    seat.idle()
    assert "Submitted as revision" in seat.message
    label = seat.lab.folder / "label.nii.gz"
    label.write_bytes(seat.lab.ask("GET", f"/datastore/label?label={image}&tag=final", "ann").content)
    np.testing.assert_array_equal(read_volume(label).array, seat.mask())


def test_a_server_that_went_away_costs_nothing(seat: Seat) -> None:
    seat.connect().choose("plain")
    place = seat.place
    launch, log = seat.lab.server.launch, seat.lab.server.log
    seat.lab.server.stop()
    seat.press("f")
    seat.stroke()
    assert "kept here" in seat.message
    drawn = seat.mask()
    seat.press("a")
    assert "Your answer is kept here" in seat.message
    assert "(2 unsent)" in seat.page.title()
    seat.lab.server = LabelServer(launch, log=log).__enter__()
    seat.page.evaluate("() => sessionStorage.clear()")
    Seat(seat.page, seat.lab, "bob").connect().choose("plain")  # somebody else at the same browser sends nothing of it
    assert seat.lab.ask("GET", f"/review/places/{place['id']}", "ann").json()["state"] == "leased"
    seat.page.evaluate("() => sessionStorage.clear()")
    seat.connect().choose("plain")  # what was kept is sent
    assert "unsent" not in seat.page.title()
    told = seat.lab.ask("GET", f"/review/places/{place['id']}", "ann").json()
    assert (told["state"], told["by"]) == ("fixed", "ann")
    i0, i1, j0, j1, k0, k1 = place["box"]
    np.testing.assert_array_equal(seat.kept("plain", "mask")[i0:i1, j0:j1, k0:k1], drawn[i0:i1, j0:j1, k0:k1])


def test_somebody_else_was_faster(seat: Seat) -> None:
    seat.connect().choose("oblique")
    place = seat.place
    lab = seat.lab
    lab.ask("POST", f"/review/places/{place['id']}/release", "ann")
    taken = lab.ask("POST", "/review/next?image=oblique", "bob").json()["place"]
    assert taken["id"] == place["id"]
    assert lab.ask("POST", f"/review/places/{place['id']}/answer", "bob", data={"verdict": "accepted"}).status_code == 200
    seat.press("a")
    assert "answered by bob" in seat.message
    assert seat.place["id"] != place["id"]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(seat: Seat, look: str) -> None:
    seat.page.emulate_media(color_scheme=look)
    seat.page.goto(f"{seat.lab.server.url}/app/")
    assert serious(seat) == []
    seat.connect()
    seat.press("o")
    assert serious(seat) == []


def serious(seat: Seat) -> list[tuple[str, str]]:
    found = Axe().run(seat.page).response["violations"]
    return [(v["id"], v["help"]) for v in found if v["impact"] in ("serious", "critical")]
