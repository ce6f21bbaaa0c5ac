"""The page: a token that ends, a server that goes away, an image that is deleted or chosen meanwhile; nothing is lost.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import numpy as np
import pytest
from page.seat import READY, Seat

from minivess.server import Accounts, LabelServer, accounts_path
from minivess.volume import read_volume

IMAGES = ("token", "gone", "away", "lost", "plain", "slow", "wanted")


def test_a_wrong_token_is_told_in_words(seat: Seat) -> None:
    seat.page.goto(f"{seat.lab.server.url}/app/")
    seat.page.fill("#token", "not-a-token")
    seat.page.click("#connect button")
    seat.page.wait_for_function("() => document.getElementById('connectMessage').textContent.includes('token is not valid')")
    assert seat.page.is_visible("#connect")


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
