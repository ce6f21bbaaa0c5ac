from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from minivess.errors import BundleError, InputError
from minivess.models import ModelRef, Prediction
from minivess.uncertainty.calibration import calibrate, read_zones, write_zones
from minivess.volume import Volume


def cases(count: int) -> Iterator[tuple[Prediction, np.ndarray, str]]:
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mask = np.zeros((24, 20, 6), bool)
        mask[4:20, 8:12, 2:4] = True
        p = np.clip(np.where(mask, 0.7, 0.1) + rng.normal(0, 0.15, mask.shape), 0, 1).astype(np.float32)
        volume = Volume(p, np.diag([1.0, 1.0, 5.0, 1.0]), "um")
        yield Prediction(volume, volume, ModelRef("made", "0", "one"), 0.4), mask, f"animal{seed}"


@pytest.mark.parametrize("loss", ["voxels", "length"])
def test_zones_lose_no_more_than_was_asked_for_and_are_kept_for_their_weights(loss: str, tmp_path: Path) -> None:
    zones = calibrate(cases(19), 0.1, loss=loss)
    assert zones.upper == 0.4
    lost = [float((p.probability.array[mask] <= zones.lower).mean()) for p, mask, _ in cases(60)]
    assert 0 < zones.lower < 0.7
    assert np.mean(lost) <= 0.12
    write_zones(tmp_path, zones, "one")
    assert read_zones(tmp_path, "one") == zones
    assert read_zones(tmp_path, "another") is None


def test_without_zones_there_are_none_and_damage_is_named(tmp_path: Path) -> None:
    assert read_zones(tmp_path, "one") is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "zones.json").write_text('{"weights_sha256": "one"}')
    with pytest.raises(BundleError, match="minivess calibrate"):
        read_zones(tmp_path, "one")


def test_too_few_subjects_and_unknown_losses_are_refused() -> None:
    with pytest.raises(InputError, match="need 9 subjects"):
        calibrate(cases(4), 0.1)
    with pytest.raises(InputError, match="one of voxels, length"):
        calibrate(cases(4), 0.1, loss="area")
