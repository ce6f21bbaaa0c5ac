"""Which rule for the threshold holds on stacks of another kind? The probabilities of one model, cut by each rule.

    python benchmarks/thresholds.py --model runs/recipes/seed0/as_built

Rules: `0.5`; `expected Dice`, as built (the volume's own probabilities, no label); `expected Dice, calibrated`, the same after the
logits are scaled and shifted so that they are right on 24 other randomised stacks, half of them with noise; `one number`, the
threshold with the best mean Dice on those; `oracle`, the best of each stack, chosen on its label. Scored on twelve randomised
stacks and on the middles of the five real ones, as published and with a tenth of the vessels' light as noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from held_out import table
from learning import central
from noise import noisy
from recipes import RANDOMISED, RANDOMISED_SHAPE, SPACING_UM
from scipy.optimize import minimize
from scipy.special import expit, logit
from two_photon import cases, load

from minivess.metrics import dsc
from minivess.models import load_bundle
from minivess.models.threshold import choose_threshold
from minivess.synth import make_sample
from minivess.volume import Volume

CALIBRATION = range(310_000, 310_024)
LEVELS = np.arange(0.02, 0.97, 0.02)


def synthetic(seeds: range, rng: np.random.Generator, noise: float) -> Iterator[tuple[Volume, np.ndarray]]:
    for seed in seeds:
        sample = make_sample("randomised", seed, shape=RANDOMISED_SHAPE, spacing=SPACING_UM)
        image = sample.image
        level = noise if seed % 2 else 0.0
        yield image.with_array(noisy(image.array.astype(np.float32), level, rng)), sample.mask.array > 0


def real(data: Path, rng: np.random.Generator, noise: float) -> Iterator[tuple[Volume, np.ndarray]]:
    for case in cases(data):
        image, label = load(case)
        box = central(image.shape)
        array = noisy(image.array[box.slices].astype(np.float32), noise, rng)
        yield Volume(array, image.affine, image.unit), label.array[box.slices] > 0


def fit_logits(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Return scale and shift of the logits with the highest likelihood, every stack weighing the same (Platt scaling)."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(p.size, 40_000, replace=False) for p, _ in found]
    x = np.concatenate([logits(p.ravel()[i]) for (p, _), i in zip(found, drawn, strict=True)])
    y = np.concatenate([t.ravel()[i] for (_, t), i in zip(found, drawn, strict=True)])

    def loss(parameters: np.ndarray) -> float:
        z = parameters[0] * x + parameters[1]
        return float(np.mean(np.logaddexp(0, z) - y * z))

    scale, shift = minimize(loss, [1.0, 0.0], method="Nelder-Mead").x
    return float(scale), float(shift)


def logits(probability: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)))


def dice_by_level(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.array([dsc(truth, p >= level) for level in LEVELS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()
    model, rng = load_bundle(arguments.model), np.random.default_rng(0)

    def probabilities(stacks: Iterator[tuple[Volume, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(model.predict(image).probability.array.astype(np.float32), truth) for image, truth in stacks]

    calibration = probabilities(synthetic(CALIBRATION, rng, 0.15))
    scale, shift = fit_logits(calibration)
    number = float(LEVELS[np.mean([dice_by_level(p, truth) for p, truth in calibration], axis=0).argmax()])
    print(f"logits: x {scale:.3f} {shift:+.3f}; one number: {number:.2f}")
    sets = {
        "12 randomised": synthetic(RANDOMISED, rng, 0.0),
        "12 randomised, half with noise": synthetic(RANDOMISED, rng, 0.15),
        "5 real": real(arguments.data, rng, 0.0),
        "5 real, noise": real(arguments.data, rng, 0.1),
    }
    rows = []
    for name, stacks in sets.items():
        found = []
        for p, truth in probabilities(stacks):
            calibrated = expit(scale * logits(p) + shift).astype(np.float32)
            found.append(
                {
                    "0.5": dsc(truth, p >= 0.5),
                    "expected Dice": dsc(truth, p >= choose_threshold(p, "expected_dice")),
                    "expected Dice, calibrated": dsc(truth, calibrated >= choose_threshold(calibrated, "expected_dice")),
                    "one number": dsc(truth, p >= number),
                    "oracle": float(dice_by_level(p, truth).max()),
                    "oracle's threshold": float(LEVELS[dice_by_level(p, truth).argmax()]),
                }
            )
        means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
        spread = " ".join("{:.2f}".format(one["oracle's threshold"]) for one in found)
        rows.append({"stacks": name, **means, "oracle's thresholds": spread})
    print(table(rows))


if __name__ == "__main__":
    main()
