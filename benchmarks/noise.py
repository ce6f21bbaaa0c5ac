"""How well does a model hold on raw, noisy stacks? The five real ones are denoised; here noise is added to them again.

    python benchmarks/noise.py --model runs/recipes/seed0/as_built [--without-smoothing]

Noise as of a detector: Gaussian with a width of a share of the brightest vessels (99.5th percentile), and shot noise of twenty photons there. The
middle of each stack, 256 x 256 pixels; means over the five. `--without-smoothing`: noisy slices are not smoothed first, for weights that were
trained so. Betti-0 error: 1 is twice or half as many pieces.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from held_out import table
from learning import central
from recipes import scores_of
from two_photon import cases, load

from minivess.models import load_bundle, normalise
from minivess.volume import Volume

LEVELS = (0.0, 0.05, 0.1, 0.15, 0.3)
PHOTONS = 20


def noisy(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    if not level:
        return image
    bright = np.percentile(image, 99.5)
    photons = rng.poisson(np.clip(image, 0, None) / bright * PHOTONS) / PHOTONS * bright
    return np.clip(photons + rng.normal(0, level * bright, image.shape), 0, None).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--without-smoothing", action="store_true")
    arguments = parser.parse_args()
    if arguments.without_smoothing:
        rule = dataclasses.replace(normalise.MODALITIES["two_photon"], clean=np.inf)
        normalise.MODALITIES["two_photon"] = rule
    model, rng, rows = load_bundle(arguments.model), np.random.default_rng(0), []
    stacks = [load(case) for case in cases(arguments.data)]
    for level in LEVELS:
        found = []
        for image, label in stacks:
            box = central(image.shape)
            volume = Volume(noisy(image.array[box.slices].astype(np.float32), level, rng), image.affine, image.unit)
            found.append(scores_of(model, volume, label.array[box.slices] > 0))
        rows.append({"noise": level, **{name: float(np.mean([one[name] for one in found])) for name in found[0]}})
    print(table(rows))


if __name__ == "__main__":
    main()
