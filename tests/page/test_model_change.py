"""Another model predicts an image, or its regions are ranked again, while somebody is reviewing it."""

from __future__ import annotations

import numpy as np
import pytest
from page.seat import Seat
from safetensors.torch import load, save
from server.lab import Lab

from minivess.models import weights_path
from minivess.review.mask_codec import unpack_mask

IMAGES = ("plain", "mirrored")


def publish_other_model(lab: Lab) -> None:
    """Replace the server's model by one that draws another mask."""
    tensors = load(weights_path(lab.folder / "model" / "segresnet").read_bytes())
    last = [name for name, value in tensors.items() if name.endswith(".bias") and value.shape == (1,)]
    other = save({name: value + 0.5 if name in last else value for name, value in tensors.items()})
    lab.ask("PUT", "/model/segresnet", "ada", files={"file": ("model.safetensors", other)}).raise_for_status()


def test_a_letter_after_a_choice_in_a_list_is_a_key(seat: Seat) -> None:
    seat.connect("plain")
    seat.page.focus("#filter")
    seat.page.select_option("#filter", "open")
    seat.press("s")
    assert seat.page.input_value("#filter") == "open"
    assert seat.page.evaluate("() => window.minivess.review.regions.answered.length") == 1


def test_after_a_ranking_the_list_is_read_again(seat: Seat, lab: Lab) -> None:
    seat.connect("plain")
    before = seat.page.evaluate("() => window.minivess.review.regions.items.map(({ id }) => id)")
    lab.ask("POST", "/review/images/plain/queue", "bob").raise_for_status()
    seat.show_region(-1)
    assert "ranked again" in seat.message
    seat.page.wait_for_function(
        "(before) => window.minivess.review.regions.items.some(({ id }) => !before.includes(id))", arg=before
    )


@pytest.mark.parametrize("key", ["s", "n"])
def test_a_region_of_another_model_is_shown_with_its_mask(seat: Seat, lab: Lab, key: str) -> None:
    image = {"s": "plain", "n": "mirrored"}[key]
    seat.connect(image)
    shown_before = seat.mask()
    publish_other_model(lab)
    lab.ask("POST", f"/infer/segresnet?image={image}&output=json", "bob").raise_for_status()
    if key == "n":
        seat.page.evaluate("() => window.minivess.review.regions.show(null)")
    seat.press(key)
    item = seat.item
    assert item
    assert item["model"] == lab.ask("GET", f"/review/images/{image}", "ann").json()["model"]
    shown = seat.mask()
    assert (shown != shown_before).any(), "the mask of the other model"
    x0, x1, y0, y1, z0, z1 = item["box"]
    seat.press("a")
    answered = lab.ask("GET", f"/review/places/{item['id']}", "ann").json()
    assert answered["state"] == "accepted"
    accepted = unpack_mask(answered["answer"]["mask"], (x1 - x0, y1 - y0, z1 - z0))
    np.testing.assert_array_equal(accepted, shown[x0:x1, y0:y1, z0:z1] > 0)
