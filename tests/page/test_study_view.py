"""The study view: who is how far, labels as files, measurements; what an annotator and an admin see of the model.

With MINIVESS_PICTURES=FOLDER pictures of the page are left there.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from page.seat import Seat, serious_findings
from playwright.sync_api import Browser
from server.lab import Lab

from minivess.volume import read_volume

IMAGES = ("listed", "touch", "oblique")


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
    assert serious_findings(seat.page) == []
    seat.picture("page-study")
    seat.page.keyboard.press("s")  # no answer of the region behind it
    seat.page.fill("#studySearch", "OBLI")
    seat.page.wait_for_function("() => document.getElementById('studySummary').textContent.startsWith('Images: 1.')")
    seat.page.get_by_role("button", name="oblique", exact=True).click()
    seat.page.wait_for_function("() => window.minivess.review.image?.name === 'oblique'", timeout=300_000)
    seat.idle()
    assert not seat.page.is_visible("#studyView")
    assert seat.lab.ask("GET", "/review/study?search=listed", "eve").json()["images"][0]["answered"] == told["answered"]


def test_the_study__enter_in_the_search_keeps_it_open(seat: Seat) -> None:
    seat.connect("listed")
    seat.page.click("#study")
    seat.page.fill("#studySearch", "OBLI")
    seat.page.press("#studySearch", "Enter")
    seat.page.wait_for_function("() => document.getElementById('studySummary').textContent.startsWith('Images: 1.')")
    assert seat.page.is_visible("#studyView")


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


def test_the_model__an_admin_trains_and_goes_back_an_annotator_reads(chromium: Browser, lab: Lab, seat: Seat) -> None:
    seat.connect()
    seat.page.click("#study")
    assert not seat.page.is_visible("#train")
    assert "training" in seat.page.inner_text("#trained").lower()
    context = chromium.new_context()
    admin = Seat(context.new_page(), lab, "ada").connect()
    admin.page.on("dialog", lambda dialog: dialog.accept())
    admin.page.click("#study")
    assert not admin.page.is_visible("#rollBack"), "there is no earlier model to go back to"
    admin.page.click("#train")
    admin.page.wait_for_function("() => document.getElementById('train').textContent === 'Stop training'")
    admin.page.click("#train")  # stop
    admin.page.wait_for_function("() => document.getElementById('train').textContent === 'Train'", timeout=300_000)
    context.close()
