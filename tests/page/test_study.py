"""The study view with two users: a training that is refused, one that is published, and the way back. On a server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from page.conftest import lab_of
from page.seat import Seat
from playwright.sync_api import Browser
from server.lab import Lab
from small_bundles import with_quality
from untrained import untrained_bundle

from minivess.models import weights_path
from minivess.paths import file_sha256
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import write_volume


@pytest.fixture
def halo_lab(tmp_path: Path, segresnet: Path) -> Iterator[Lab]:
    """Two stacks, and a model that paints a halo around every vessel."""
    for number, name in enumerate(("first", "second")):
        sample = make_sample("capillary", number, shape=(128, 128, 10))
        write_volume(sample.image, tmp_path / "studies" / f"{name}.nii.gz")
        write_volume(sample.mask, tmp_path / "truth" / f"{name}.nii.gz")
    bundle = untrained_bundle(segresnet, tmp_path / "made" / "segresnet", threshold=0.6, small=False)
    tiny = bundle / "configs" / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("iterations_per_epoch: 60", "iterations_per_epoch: 20"))
    publish(weights_path(bundle), copy_bundle(bundle, tmp_path / "model" / "segresnet"))
    with lab_of(tmp_path) as lab:
        yield lab


def trained(seat: Seat) -> str:
    """Train from the study view, and return what it says in the end."""
    seat.page.click("#train")
    seat.page.wait_for_function("() => document.getElementById('train').textContent === 'Stop training'")
    seat.page.wait_for_function("() => document.getElementById('train').textContent === 'Train'", timeout=900_000)
    return seat.page.inner_text("#trained")


def answer(lab: Lab, who: str, image: str, count: int, **form: object) -> None:
    """Answer regions of an image: as they are, or with the voxels of the true mask."""
    for _ in range(count):
        place = lab.ask("POST", f"/review/next?image={image}", who).json()["place"]
        files = (
            {"label": (f"{image}.nii.gz", (lab.folder / "truth" / f"{image}.nii.gz").read_bytes())}
            if form["verdict"] == "fixed"
            else None
        )
        lab.ask("POST", f"/review/places/{place['id']}/answer", who, data=form, files=files).raise_for_status()


@pytest.mark.slow
def test_two_users__a_refused_training__a_published_one__and_the_way_back(chromium: Browser, halo_lab: Lab) -> None:
    lab = halo_lab
    weights = weights_path(lab.folder / "model" / "segresnet")
    first = file_sha256(weights)
    with_quality(lab.folder / "model" / "segresnet")
    for who, image in (("ann", "first"), ("bob", "second")):
        lab.ask("POST", f"/infer/segresnet?image={image}&output=json", who).raise_for_status()
        answer(lab, who, image, 6, verdict="accepted")
    page = chromium.new_context(viewport={"width": 1200, "height": 760}).new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    admin = Seat(page, lab, "ada").connect("first")
    page.click("#study")
    page.wait_for_function("() => document.querySelectorAll('#studyImages tr').length === 2")
    rows = [row.split("\t") for row in page.inner_text("#studyImages").splitlines()]
    assert [(row[0], row[1], row[5].split(", ")[-1]) for row in rows] == [
        ("first", "in review", "ann"),
        ("second", "in review", "bob"),
    ]

    assert all(set(row[2].split(" or ")) <= {"retrain", "needs review", "usable"} for row in rows)
    said = trained(admin)  # what was accepted is the published model's own mask: nothing is better
    assert "it is right, or nearly, in all reviewed regions" in said
    assert file_sha256(weights) == first
    assert page.is_visible("#anchors")
    assert not page.is_visible("#rollBack"), "there is no earlier model to go back to"
    assert "reviewed regions, held out" in page.inner_text("#anchorRows")
    admin.picture("page-study-refused")

    for image in ("first", "second"):  # the answers were careless: they are withdrawn, and given again
        for place in lab.ask("GET", f"/review/?image={image}&state=accepted", "ada").json()["places"]:
            lab.ask("DELETE", f"/review/places/{place['id']}/answer", "ada").raise_for_status()
        answer(lab, "bob", image, 10, verdict="fixed")  # of 12; one is reserved by the open page
    said = trained(admin)
    assert said.startswith("Last training: published. Dice "), said
    assert file_sha256(weights) != first
    admin.picture("page-study-published")

    page.click("#rollBack")
    page.wait_for_function("() => document.getElementById('trained').textContent.includes('The model before is in use again')")
    assert file_sha256(weights) == first
    page.keyboard.press("Escape")
    page.click("#study")
    page.wait_for_function(
        "() => document.getElementById('trained').textContent === 'ada has gone back to the model before: it is in use.'"
    )
    assert not page.is_visible("#anchors"), "scores of a model that is not in use"
