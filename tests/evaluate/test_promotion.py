"""The gate with small real volumes and segmenters that are a fixed threshold: scores by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.evaluate import ReviewedCase, mean_dice, promote_if_not_worse
from minivess.models import Capabilities, ModelRef, Prediction
from minivess.volume import Volume


class Threshold:
    """A segmenter that says vessel where the image reaches a value."""

    capabilities = Capabilities(frozenset(), ("vessel",), "two_photon")
    model = ModelRef("threshold", "0", "")

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, volume: Volume, prompts: object = None, roi: object = None, progress: object = None) -> Prediction:
        probability = volume.with_array((volume.array >= self.value).astype(np.float32))
        return Prediction(probability, volume.with_array(np.zeros(volume.shape, np.float32)), self.model, 0.5)


def cases() -> Iterator[ReviewedCase]:
    image = Volume(np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.eye(4), "um")
    reviewed = np.ones(image.shape, bool)
    reviewed[0, 0, 0] = False  # what is there does not count
    label = image.array >= 4
    label[0, 0, 0] = True
    yield ReviewedCase(image, image.with_array(label.astype(np.uint8)), reviewed)


def test_mean_dice__counts_reviewed_voxels_only() -> None:
    assert mean_dice(Threshold(4), cases()) == 1.0
    assert mean_dice(Threshold(6), cases()) == pytest.approx(2 * 2 / (4 + 2))
    with pytest.raises(InputError, match="at least one"):
        mean_dice(Threshold(4), [])


@pytest.mark.parametrize(("new", "old", "promoted"), [(4, 6, True), (6, 6, True), (6, 4, False), (6, None, True)])
def test_promote_if_not_worse(new: float, old: float | None, promoted: bool) -> None:
    published: list[str] = []
    before = None if old is None else Threshold(old)
    promotion = promote_if_not_worse(Threshold(new), before, cases, lambda: published.append("new"))
    assert promotion.promoted is promoted
    assert published == (["new"] if promoted else [])
    assert (promotion.dice_before is None) == (old is None)
    assert promotion.to_json()["validation_dice"] == promotion.dice
    assert ("worse" in promotion.state) is not promoted
