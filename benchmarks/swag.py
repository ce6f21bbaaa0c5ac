"""Make the members of a SWAG ensemble: networks drawn from a Gaussian around the weights of one training's last part.

    python benchmarks/swag.py --model runs/recipes/seed0/as_built --synthetic runs/recipes/synthetic_data --out runs/swag

SWAG (Maddox et al. 2019, arXiv 1902.02476): the training goes on at a constant rate, its weights are kept after every 20 steps; mean,
variance and the last ten deviations make a Gaussian. The statistics of the batch normalisation are estimated anew for every network,
on patches of the training stacks. Written: `swa`, the mean, and `swag1` to `swag4`, bundles that `ensemble.py` compares.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import torch
import yaml
from two_photon import load, synthetic_cases

from minivess.datasets import TrainingCase
from minivess.models import load_bundle, weights_path
from minivess.models.normalise import fit_scaling
from minivess.models.weights import read_weights, write_weights
from minivess.train import copy_bundle, train_bundle

RECIPE = {"epochs": 21, "iterations_per_epoch": 20, "val_interval": 1, "learning_rate": 0.002}
DEVIATIONS, MEMBERS, EDGE = 10, 4, 64
Weights = dict[str, torch.Tensor]


def trajectory(model: Path, training: list[TrainingCase], out: Path, seed: int) -> list[Weights]:
    """Go on with a training at a constant rate. Return the weights after each epoch but the last."""
    bundle, found = copy_bundle(model, out / "training"), list[Weights]()
    shutil.rmtree(bundle / "run", ignore_errors=True)
    file = bundle / "configs" / "train.yaml"
    config = yaml.safe_load(file.read_text())
    config["lr_scheduler"] = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0}
    file.write_text(yaml.safe_dump(config, sort_keys=False))

    def keep(_epoch: int, _dice: float) -> bool:
        state = bundle / "run" / "resume.pt"  # of the epoch before: it is written after the validation
        if state.is_file():
            found.append(torch.load(state, map_location="cpu", weights_only=True)["network"])
        return False

    train_bundle(
        bundle,
        training=training,
        validation=training[:1],
        output=bundle / "run",
        preset="tiny",
        init_weights=weights_path(model),
        overrides={**RECIPE, "seed": seed},
        after_validation=keep,
    )
    return found


def moments(found: list[Weights]) -> tuple[Weights, Weights, list[Weights]]:
    """Return mean, variance, and the last deviations from the mean so far."""
    mean, square, deviations = dict(found[0]), {k: v**2 for k, v in found[0].items()}, list[Weights]()
    for n, weights in enumerate(found[1:], 2):
        for key, value in weights.items():
            mean[key] = mean[key] + (value - mean[key]) / n
            square[key] = square[key] + (value**2 - square[key]) / n
        deviations.append({key: value - mean[key] for key, value in weights.items()})
    variance = {key: (square[key] - mean[key] ** 2).clamp(min=0) for key in mean}
    return mean, variance, deviations[-DEVIATIONS:]


def draw(mean: Weights, variance: Weights, deviations: list[Weights], generator: torch.Generator) -> Weights:
    along = torch.randn(len(deviations), generator=generator)
    drawn = {}
    for key, value in mean.items():
        apart = variance[key].sqrt() * torch.randn(value.shape, generator=generator) / 2**0.5
        shared = sum(z * d[key] for z, d in zip(along, deviations, strict=True)) / (2 * (len(deviations) - 1)) ** 0.5
        drawn[key] = value + apart + shared
    return drawn


def with_statistics(network: torch.nn.Module, weights: Weights, patches: torch.Tensor) -> Weights:
    """Return weights whose batch normalisation has seen these patches only."""
    network.load_state_dict(weights, strict=False)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a mean over all patches
    network.train()
    with torch.no_grad():
        for batch in patches.split(8):
            network(batch)
    network.eval()
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def patches_of(training: list[TrainingCase], rng: np.random.Generator) -> torch.Tensor:
    found = []
    for case in training:
        image, _ = load(case)
        scaled = fit_scaling(image.array, "two_photon").without_smoothing().apply(image.array)
        x, y, z = (int(rng.integers(0, n - size + 1)) for n, size in zip(scaled.shape, (EDGE, EDGE, 8), strict=True))
        found.append(torch.from_numpy(scaled[x : x + EDGE, y : y + EDGE, z : z + 8].copy())[None])
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    training = synthetic_cases(arguments.synthetic)
    found = trajectory(arguments.model, training, arguments.out, arguments.seed)
    floats = {key for key, value in found[0].items() if value.is_floating_point() and not key.endswith(("_mean", "_var"))}
    mean, variance, deviations = moments([{key: one[key] for key in floats} for one in found])
    generator, network = torch.Generator().manual_seed(arguments.seed), load_bundle(arguments.model)._network
    patches, (_, metadata) = patches_of(training, np.random.default_rng(0)), read_weights(weights_path(arguments.model))
    members = {"swa": mean} | {f"swag{n}": draw(mean, variance, deviations, generator) for n in range(1, MEMBERS + 1)}
    for name, weights in members.items():
        bundle = copy_bundle(arguments.model, arguments.out / name)
        weights_path(bundle).parent.mkdir(exist_ok=True)
        write_weights(with_statistics(network, weights, patches), weights_path(bundle), metadata)
    print(f"{len(found)} snapshots; relative width {np.mean([float(variance[k].mean().sqrt()) for k in floats]):.4f}")


if __name__ == "__main__":
    main()
