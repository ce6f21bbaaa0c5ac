"""A small review for tests: two images of the same vessels, and models that are wrong in known ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from review.drawing import tube

from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.review.service import ReviewService
from minivess.store import LabelStore, Region
from minivess.volume import Box, Volume, read_volume, write_volume

SHAPE = (96, 80, 12)
AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])
TRUTH = tube(SHAPE, ((5, 40, 6), (90, 40, 6)), ((10, 12, 3), (80, 12, 3)), radius=4)


def make_service(folder: Path, quality_of: Callable[[Prediction], str] = lambda _: "") -> ReviewService:
    """Two images, ``a`` and ``b``, of the same vessels in a store; the service works in ``folder / "work"``."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = np.clip(np.where(TRUTH, 120, 30) + rng.normal(0, 8, SHAPE), 0, 255).astype(np.uint8)
        write_volume(Volume(image, AFFINE, "um"), folder / "studies" / f"{name}.nii.gz")
    store = LabelStore(folder / "studies", unit="um")
    store.images.scan()
    return ReviewService(
        store,
        folder / "work",
        lambda i: read_volume(store.images.get(i).image, unit="um"),
        modality="two_photon",
        quality_of=quality_of,
    )


def make_prediction(image: Volume, seed: int, sha: str) -> Prediction:
    """A model that misses a stretch, invents a vessel, and is uncertain in between."""
    rng = np.random.default_rng(seed)
    predicted = TRUTH.copy()
    x = int(rng.integers(15, 60))
    predicted[x : x + 14] = False
    p = np.where(predicted, 0.95, np.where(TRUTH, 0.3, 0.01))
    p[tube(SHAPE, ((20, 65, 8), (50, 65, 8)), radius=3)] = 0.6
    p = np.clip(p + rng.normal(0, 0.02, SHAPE), 0, 1).astype(np.float32)
    return Prediction(image.with_array(p), image.with_array(binary_entropy(p)), ModelRef("made", "0", sha), 0.5)


def make_region(box: Box, expected_errors: float = 1.0, cost_s: float = 4.0) -> Region:
    """A region with made-up values beside its box."""
    return Region((0.0, 0.0, 0.0), box, (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), "gap", expected_errors, 10.0, cost_s, "made up")


def read_image(service: ReviewService, name: str = "a") -> Volume:
    return read_volume(service.store.images.get(name).image, unit="um")


def answer_items(service: ReviewService, user: str, count: int) -> list[Box]:
    """Correct or accept regions as an annotator who knows the truth; returns their boxes."""
    boxes = []
    for _ in range(count):
        item = service.store.queue.next(user, seconds=60)
        if item is None:
            break
        box = item.region.box
        truth = TRUTH[box.slices]
        same = ((service.mask(item.image_id)[0].array[box.slices] > 0) == truth).all()
        service.answer(item.id, "accepted" if same else "fixed", actor=user, corrected=None if same else truth, seconds=3.2)
        boxes.append(box)
    return boxes
