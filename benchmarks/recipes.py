"""Which changes of the recipe help on stacks that nobody tuned on? Each way trains on synthetic stacks alone, from scratch.

    python benchmarks/recipes.py --out runs/recipes [--seed 0] [--way "skeleton recall" ...]

Ways beside `as built`: `skeleton recall`, a term for the share of the label's centre-line that is found (Kirchhoff et al. 2024,
arXiv 2404.03010); `boundary weight`, voxels beside the label's border weigh a quarter (labels are loose by a pixel); `larger context`,
patches of 128 x 128 instead of 64 x 64; `test-time normalisation`, the batch normalisation's statistics are of the stack that is
predicted (Nado et al. 2020, arXiv 2006.10963); `self-training`, a short training on the stack's own sure voxels (probability below 0.1
or above 0.9), half of each step beside synthetic stacks. Scored on twelve other randomised stacks, by which a way is to be chosen, and on
the five real ones. What is tried here is not in the library.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import torch
from learning import central
from skimage.morphology import skeletonize
from torch.nn import functional
from two_photon import RECIPE, cases, fit, load, synthetic_cases

import minivess.train.loss as loss_module
from minivess.datasets import TrainingCase
from minivess.metrics import betti_numbers, cldice, dsc
from minivess.models import BundleSegmenter, load_bundle, weights_path
from minivess.synth import make_sample
from minivess.train import rehearsal_cases
from minivess.train.rehearsal import balanced
from minivess.volume import Volume, write_volume

BUILT = loss_module.VesselLoss
RANDOMISED = range(300_000, 300_012)
RANDOMISED_SHAPE, SPACING_UM = (160, 160, 16), (1.0, 1.0, 3.0)
SELF_TRAINING = {"epochs": 2, "iterations_per_epoch": 60, "val_interval": 2, "learning_rate": 0.001, "soft_weight": 2.0}


# A bundle's configuration may only name classes of the library: these stand in for one of it.
class SkeletonRecallLoss(BUILT):
    """The loss as built, and the soft recall on the label's thickened centre-line."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        label = (target[:, :1] > 0).cpu().numpy()
        thin = np.stack([skeletonize(patch[0]) if patch.any() else patch[0] for patch in label])[:, None]
        tube = functional.max_pool3d(torch.from_numpy(thin.astype(np.float32)), (3, 3, 1), 1, (1, 1, 0)).to(logits) * (
            target[:, :1] > 0
        )
        recall = (torch.sigmoid(logits.float()) * tube).sum() / tube.sum().clamp(min=1)
        return super().forward(logits, target) + 0.5 * (1 - recall)


class BoundaryWeightLoss(BUILT):
    """Dice and cross-entropy in which voxels on both sides of the label's border weigh a quarter."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        label, logits = (target[:, :1] > 0).float(), logits.float()
        kernel, padding = (3, 3, 1), (1, 1, 0)
        grown, shrunk = functional.max_pool3d(label, kernel, 1, padding), -functional.max_pool3d(-label, kernel, 1, padding)
        weight = 1 - 0.75 * (grown - shrunk)
        p = torch.sigmoid(logits)
        overlap = 1 - 2 * (weight * p * label).sum() / ((weight * (p + label)).sum() + 1e-5)
        return overlap + functional.binary_cross_entropy_with_logits(logits, label, weight=weight)


def trained(out: Path, name: str, training: list[TrainingCase], seed: int, loss: type = BUILT, **changed: object) -> Path:
    loss_module.VesselLoss, loss.__module__ = loss, BUILT.__module__  # the configuration finds it by this name
    try:
        return fit(out, name.replace(" ", "_"), training, {**RECIPE, "seed": seed, **changed}, None, reuse=True)[0]
    finally:
        loss_module.VesselLoss = BUILT


def with_own_statistics(bundle: Path, image: Volume) -> BundleSegmenter:
    """Return a model whose batch normalisation has seen this stack only."""
    model = load_bundle(bundle)
    normalisations = [m for m in model._network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for module in normalisations:
        module.reset_running_stats()
        module.momentum = None  # a mean over all windows
        module.train()
    model.predict(image)
    for module in normalisations:
        module.eval()
    return model


def self_trained(bundle: Path, image: Volume, modality: str, out: Path, seed: int) -> BundleSegmenter:
    """Return a model that was trained on a stack's own sure voxels."""
    probability = load_bundle(bundle).predict(image).probability.array
    paths = [out / f"{part}.nii.gz" for part in ("image", "label", "sure")]
    sure = (probability < 0.1) | (probability > 0.9)
    for path, array in zip(paths, (image.array, (probability > 0.5).astype(np.uint8), sure.astype(np.uint8)), strict=True):
        write_volume(image.with_array(array), path)
    own = replace(TrainingCase(paths[0], paths[1], "own", unit="um"), reviewed=paths[2])
    rehearsed = balanced([own], rehearsal_cases(bundle, [own], modality=modality, folder=out / "rehearsal"))
    weights = weights_path(bundle)
    return load_bundle(fit(out, "bundle", rehearsed, {**SELF_TRAINING, "seed": seed}, weights, reuse=False)[0])


def stacks(data: Path) -> Iterator[tuple[str, str, Volume, np.ndarray]]:
    for seed in RANDOMISED:
        sample = make_sample("randomised", seed, shape=RANDOMISED_SHAPE, spacing=SPACING_UM)
        yield "randomised", str(seed), sample.image, sample.mask.array > 0
    for case in cases(data):
        image, label = load(case)
        yield "real", case.name, image, label.array > 0


def scores_of(model: BundleSegmenter, image: Volume, truth: np.ndarray) -> dict[str, float]:
    box = central(image.shape)
    mask = model.predict(image).mask.array > 0
    own, reference = mask[box.slices], truth[box.slices]
    pieces, wanted = (betti_numbers(array)[0] for array in (own, reference))
    error = abs(math.log2((pieces + 1) / (wanted + 1)))
    return {"Dice": dsc(reference, own), "clDice": cldice(reference, own), "Betti-0 error": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", action="append", help="only these ways")
    arguments = parser.parse_args()
    out, seed = arguments.out / f"seed{arguments.seed}", arguments.seed
    made = synthetic_cases(arguments.out / "synthetic_data")
    model_of: dict[str, Callable[[Volume], BundleSegmenter]] = {}

    def by_training(name: str, loss: type = BUILT, **changed: object) -> None:
        model_of[name] = lambda _: load_bundle(trained(out, name, made, seed, loss, **changed))

    by_training("as built")
    by_training("skeleton recall", SkeletonRecallLoss)
    by_training("boundary weight", BoundaryWeightLoss)
    by_training("larger context", patch_size=[128, 128, 8], items_per_batch=2)
    built = out / "as_built"
    model_of["test-time normalisation"] = lambda image: with_own_statistics(built, image)
    model_of["self-training"] = lambda image: self_trained(built, image, "two_photon", out / "self", seed)
    for way in arguments.way or model_of:
        rows = []
        for kind, name, image, truth in stacks(arguments.data):
            if way == "self-training" and kind == "randomised":
                continue  # a training for each stack
            rows.append({"way": way, "seed": seed, "kind": kind, "stack": name, **scores_of(model_of[way](image), image, truth)})
        with (arguments.out / "rows.jsonl").open("a") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        for kind in dict.fromkeys(row["kind"] for row in rows):
            of_kind = [row for row in rows if row["kind"] == kind]
            means = {n: float(np.mean([row[n] for row in of_kind])) for n in ("Dice", "clDice", "Betti-0 error")}
            print(f"{way}, seed {seed}, {kind}: " + ", ".join(f"{n} {v:.3f}" for n, v in means.items()), flush=True)


if __name__ == "__main__":
    main()
