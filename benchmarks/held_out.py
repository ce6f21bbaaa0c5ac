"""Volumes with their truth and the prediction of a model that was not trained on their animal; shared by the benchmarks of review.

The models are those of `benchmarks/two_photon.py --out runs/two_photon --seed 0`: for each real stack the bundle trained on the
other animals, for synthetic volumes the one trained on eight other synthetic stacks. Predictions are cached beside the models.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from two_photon import FOLDS, STACKS, cases, load

from minivess.models import Prediction, binary_entropy, load_bundle
from minivess.models.normalise import fit_scaling
from minivess.models.segmenter import ModelRef
from minivess.synth import make_sample
from minivess.volume import Volume

#: Seeds of the synthetic volumes; the synthetic model was trained on 100 to 107.
SYNTHETIC_SEEDS = range(1000, 1060)
SYNTHETIC_SHAPE = (192, 192, 16)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One volume: its name, its animal, the image, the truth (bool), and the prediction of a model not trained on the animal."""

    name: str
    subject: str
    image: Volume
    truth: np.ndarray
    prediction: Prediction

    @property
    def contrast(self) -> np.ndarray:
        return fit_scaling(self.image.array, "two_photon").apply(self.image.array)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon"
    parser.add_argument("--models", type=Path, required=True, help="output folder of benchmarks/two_photon.py --out")
    parser.add_argument("--data", type=Path, default=shared)


def real(models: Path, data: Path) -> list[HeldOut]:
    missing = [fold for fold in FOLDS if not (models / fold / "models").is_dir()]
    if missing:
        raise SystemExit(f"{models} has no model for {', '.join(missing)}. Run first: benchmarks/two_photon.py --out {models}")
    volumes = []
    for case in cases(data):
        image, label = load(case)
        name = next(n for n, *_ in STACKS if case.name.startswith(n))
        volumes.append(HeldOut(name, case.subject, image, label.array > 0, predicted(image, models / case.subject, name)))
    return volumes


def synthetic(models: Path, count: int = len(SYNTHETIC_SEEDS)) -> list[HeldOut]:
    volumes = []
    for seed in SYNTHETIC_SEEDS[:count]:
        kind = ("capillary", "large")[seed % 2]
        sample = make_sample(kind, seed, shape=SYNTHETIC_SHAPE)
        name = f"{kind}{seed}"
        prediction = predicted(sample.image, models / "synthetic", name)
        volumes.append(HeldOut(name, name, sample.image, sample.mask.array > 0, prediction))
    return volumes


def predicted(image: Volume, bundle: Path, name: str) -> Prediction:
    file = bundle / "held_out" / f"{name}.npz"
    if not file.exists():
        prediction = load_bundle(bundle).predict(image)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, probability=prediction.probability.array.astype(np.float16), threshold=prediction.threshold)
    with np.load(file) as cached:
        probability, threshold = cached["probability"].astype(np.float32), float(cached["threshold"])
    volume = image.with_array(probability)
    return Prediction(volume, image.with_array(binary_entropy(probability)), ModelRef("segresnet", "0", bundle.name), threshold)


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over volumes."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (5000, len(values))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def table(rows: list[dict]) -> str:
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    return "\n".join(lines)
