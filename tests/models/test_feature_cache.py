"""The second prompt near the first one does not wait for the image encoder; and answers the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from small_bundles import BUNDLES, small_bundle

from minivess.models import BundleSegmenter, Click, load_bundle
from minivess.models.clicks import box_window, click_windows
from minivess.models.feature_cache import FeatureCache
from minivess.volume import Box, Volume


class Encoder:
    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, picture: torch.Tensor) -> list[torch.Tensor]:
        self.runs += 1
        return [picture * 2, picture.sum()[None]]


def test_a_picture_is_encoded_once_for_the_same_weights(tmp_path: Path) -> None:
    encoder, picture = Encoder(), torch.rand(1, 3, 8, 8)
    for identity, runs in (("a", 1), ("a", 1), ("b", 2)):
        found = FeatureCache(tmp_path / "features", identity).features(picture, lambda: encoder(picture))
        assert all(torch.equal(a, b) for a, b in zip(found, [picture * 2, picture.sum()[None]], strict=True))
        assert encoder.runs == runs
    FeatureCache(tmp_path / "features", "a").features(picture + 1, lambda: encoder(picture + 1))
    assert encoder.runs == 3


def test_the_oldest_goes_when_the_budget_is_used_up(tmp_path: Path) -> None:
    encoder = Encoder()
    cache = FeatureCache(tmp_path, "a", budget_bytes=3 * 1300)  # three pictures
    pictures = [torch.full((1, 1, 16, 16), float(n)) for n in range(4)]
    for number, picture in enumerate(pictures[:3]):
        cache.features(picture, lambda p=picture: encoder(p))
        for file in tmp_path.glob("*.safetensors"):
            if file.stat().st_mtime > 1000:
                os.utime(file, (number, number))
    cache.features(pictures[0], lambda: encoder(pictures[0]))  # used again: the second one is the oldest now
    assert encoder.runs == 3
    cache.features(pictures[3], lambda: encoder(pictures[3]))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3 * 1300
    cache.features(pictures[0], lambda: encoder(pictures[0]))
    assert encoder.runs == 4
    cache.features(pictures[1], lambda: encoder(pictures[1]))
    assert encoder.runs == 5


def test_damaged_files_and_folders_that_cannot_be_written_cost_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, picture = Encoder(), torch.rand(1, 1, 4, 4)
    cache = FeatureCache(tmp_path / "features", "a")
    cache.features(picture, lambda: encoder(picture))
    for file in cache.folder.iterdir():
        file.write_bytes(file.read_bytes()[:20])
    assert torch.equal(cache.features(picture, lambda: encoder(picture))[0], picture * 2)
    assert encoder.runs == 2
    (tmp_path / "a file").write_text("")
    with monkeypatch.context() as patch:  # a full disk

        def full(*_: object) -> None:
            raise SafetensorError("I/O error: No space left on device")

        patch.setattr("minivess.models.feature_cache.save_file", full)
        assert torch.equal(cache.features(picture + 1, lambda: encoder(picture + 1))[0], picture * 2 + 2)
    elsewhere = FeatureCache(tmp_path / "a file" / "features", "a")
    assert torch.equal(elsewhere.features(picture, lambda: encoder(picture))[0], picture * 2)


@pytest.mark.parametrize("name", ["sam3_lora", "litemedsam"])
def test_the_second_prompt_runs_no_encoder_and_answers_the_same(name: str, tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / name, tmp_path / name)
    plain, cached = load_bundle(bundle, device="cpu"), load_bundle(bundle, device="cpu")
    assert isinstance(cached, BundleSegmenter)
    cached.cache_features(tmp_path / "features")
    network = cached._network
    encoder = network._tracker[0].vision_encoder if name == "sam3_lora" else network.network.image_encoder  # type: ignore[index,union-attr]
    runs: list[int] = []
    encoder.register_forward_hook(lambda *_: runs.append(1))  # type: ignore[union-attr,operator]
    array = np.random.default_rng(0).gamma(2.0, 200.0, (48, 44, 4)).astype(np.uint16)
    volume = Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]), "um")
    for box in (Box(10, 30, 8, 30, 2, 3), Box(12, 30, 8, 28, 2, 3)):
        own, reference = (one.predict(volume, {"box": box}).probability.array for one in (cached, plain))
        assert np.array_equal(own, reference)
        assert len(runs) == 1
    if name == "sam3_lora":
        for clicks in ([Click((20, 20, 2))], [Click((20, 20, 2)), Click((25, 12, 2), positive=False)]):
            own, reference = (one.predict(volume, {"point": clicks}).probability.array for one in (cached, plain))
            assert np.array_equal(own, reference)


@given(st.tuples(*[st.integers(0, 199)] * 2), st.tuples(*[st.integers(0, 199)] * 2), st.integers(8, 128))
def test_windows_hold_their_prompts(a: tuple[int, int], b: tuple[int, int], size: int) -> None:
    shape = (200, 200, 6)
    clicks = [Click((*a, 3)), Click((*b, 2))]
    windows = click_windows(clicks, shape, (size, size, 4))
    assert sorted(click.voxel for _, inside in windows for click in inside) == sorted(click.voxel for click in clicks)
    for window, inside in windows:
        assert window.fits(shape)
        assert all(window.contains(click.voxel) for click in inside)
    box = Box.from_corners(np.minimum((*a, 3), (*b, 2)), np.maximum((*a, 3), (*b, 2)) + 1)
    around = box_window(box, shape, (size, size, 4))
    assert around.fits(shape)
    assert around.intersect(box) == box


def test_prompts_near_each_other_have_the_same_window() -> None:
    shape, size = (512, 512, 20), (128, 128, 8)
    windows = {click_windows([Click((x, 200, 10))], shape, size)[0][0] for x in range(200, 216)}
    assert len(windows) <= 2
