"""The quality class of cases without a label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minivess.errors import BundleError, InputError
from minivess.models import ModelRef, Prediction
from minivess.uncertainty.case_features import case_features
from minivess.uncertainty.quality import CLASSES, Quality, QualityModel, read_quality, write_quality
from minivess.volume import Volume


def simulated(cases: int, seed: int, *, noise: float = 0.03) -> QualityModel:
    """Cases whose first feature is clDice with noise, and whose second one is nothing but noise."""
    rng = np.random.default_rng(seed)
    cldice = rng.uniform(0.4, 0.95, cases)
    features = {"a": (cldice + rng.normal(0, noise, cases)).tolist(), "b": rng.normal(size=cases).tolist()}
    return QualityModel(features, cldice.tolist(), [f"m{n}" for n in range(cases)])


def prediction(probability: np.ndarray) -> Prediction:
    volume = Volume(probability.astype(np.float32), np.diag([1.0, 1.0, 5.0, 1.0]), "um")
    return Prediction(volume, volume, ModelRef("made", "0", "one"), 0.5)


def test_the_true_class_is_in_nine_of_ten_sets() -> None:
    model, inside, sizes = simulated(60, 0), [], []
    new = simulated(150, 1)
    for a, b, cldice in zip(new.features["a"], new.features["b"], new.cldice, strict=True):
        found = model.estimate({"a": a, "b": b})
        inside.append(model.class_of(cldice) in found.classes)
        sizes.append(len(found.classes))
    assert np.mean(inside) >= 0.82  # 0.9 less two standard deviations for 60 calibration cases
    assert np.mean(sizes) < 2


def test_a_case_in_the_middle_of_a_class_has_that_class_alone() -> None:
    model = simulated(60, 2, noise=0.01)
    for cldice, name in ((0.45, "retrain"), (0.7, "needs review"), (0.92, "usable")):
        found = model.estimate({"a": cldice, "b": 0.0})
        assert found.classes == (name,)
        assert found.cldice == pytest.approx(cldice, abs=0.05)


def test_with_too_few_cases_for_the_coverage_nothing_is_excluded() -> None:
    model = replace(simulated(12, 0), coverage=0.95)
    assert model.least_share == 0.0
    assert model.estimate({"a": 0.9, "b": 0.0}).classes == CLASSES


def test_a_model_of_unknown_features_is_refused() -> None:
    with pytest.raises(BundleError, match="needs b"):
        simulated(12, 0).estimate({"a": 0.5})


def test_words() -> None:
    assert str(Quality(("needs review", "usable"), 0.8)) == "needs review or usable"


def test_it_is_for_the_weights_it_was_fitted_for(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    model = simulated(12, 0)
    file = write_quality(tmp_path, model, "one")
    read = read_quality(tmp_path, "one")
    assert read is not None
    assert read.estimate({"a": 0.7, "b": 0.0}) == model.estimate({"a": 0.7, "b": 0.0})
    assert read_quality(tmp_path, "two") is None
    file.write_text(json.dumps({"weights_sha256": "one", "features": {}}))
    with pytest.raises(BundleError, match="Calibrate again"):
        read_quality(tmp_path, "one")


def test_too_few_subjects_and_limits_out_of_order_are_refused() -> None:
    with pytest.raises(InputError, match="needs 10 labelled subjects"):
        QualityModel({"a": [0.5] * 20}, [0.5] * 20, ["m1", "m2"] * 10)
    with pytest.raises(InputError, match="usable from"):
        QualityModel({"a": [0.5] * 10}, [0.5] * 10, list("abcdefghij"), usable_from=0.5)


def test_features_by_hand() -> None:
    probability = np.zeros((20, 20, 4), np.float32)
    probability[2:18, 5, 1] = 0.9
    probability[10, 15, 3] = 0.6
    found = case_features(prediction(probability))
    assert found["vessel_share"] == pytest.approx(17 / 1600)
    assert found["share_of_largest_piece"] == pytest.approx(16 / 17)
    assert found["share_in_small_pieces"] == 1.0
    assert found["empty_slices"] == 0.5
    assert found["unsure_per_predicted_voxel"] == pytest.approx(1 / 17)
    assert found["highest_probability"] == pytest.approx(0.9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_of_empty_and_full_masks_are_numbers(value: float) -> None:
    assert np.isfinite(list(case_features(prediction(np.full((8, 8, 3), value))).values())).all()


def test_an_animal_with_many_cases_counts_once() -> None:
    many, few = simulated(91, 3, noise=0.01), simulated(11, 4, noise=0.25)
    features = {name: [*many.features[name], *few.features[name]] for name in many.features}
    model = QualityModel(features, [*many.cldice, *few.cldice], [*["one"] * 91, *[f"m{n}" for n in range(11)]])
    new = simulated(150, 5, noise=0.25)  # of animals like the eleven
    inside = [
        model.class_of(cldice) in model.estimate({"a": a, "b": b}).classes
        for a, b, cldice in zip(new.features["a"], new.features["b"], new.cldice, strict=True)
    ]
    assert np.mean(inside) >= 0.8
    every_case = replace(model, subjects=[f"m{n}" for n in range(102)])
    assert model.least_share < every_case.least_share
