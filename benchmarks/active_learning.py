"""Which patches should be labelled next for training? Strategies beside foreground-aware random, in one run.

    python benchmarks/active_learning.py --seeds 8

A simulated annotator labels 12 patches of 32 x 32 x 3 voxels a round, 6 rounds, the same first 12 for every strategy of a seed; after each
round a network is trained anew on all labelled patches and scored on a stack of an animal that is not in the pool. The network is a small
one (a perceptron on 13 filters of the local contrast), so that 8 seeds x 5 strategies x 6 rounds x 4 animals fit two cores: the SegResNet
recipe of the loop would take days. Baseline: foreground-aware random, which looks at the true labels to find foreground (two thirds of
its patches): nobody has those, so it is the honest upper form of random. `foreground` is the form one can run: it uses the prediction.
Area under the budget curve: mean Dice over the rounds. Intervals: 95 % bootstrap over seeds, and over test stacks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import torch
from held_out import interval, table
from scipy import ndimage
from two_photon import STACKS, cases, load

from minivess.metrics import cldice, dsc
from minivess.models.normalise import fit_scaling
from minivess.synth import make_sample
from minivess.uncertainty.acquisition import choose, patch_scores

PATCH, QUERY, ROUNDS, CROP = (32, 32, 3), 12, 6, 192
WAYS = ("random", "foreground-aware random (true labels)", "foreground", "errors", "power")
BASELINE = WAYS[1]
STEPS, BATCH = 250, 4096


@dataclass(frozen=True, eq=False)
class Stack:
    """A cut-out: filters (voxels, 13) float32, and truth (x, y, z) bool."""

    name: str
    subject: str
    filters: torch.Tensor
    truth: np.ndarray


def filters_of(contrast: np.ndarray) -> np.ndarray:
    maps = [contrast]
    for sigma in (0.7, 1.5, 3.0, 6.0):
        across = (sigma, sigma, sigma / 5)  # slices lie five times as far apart
        maps += [
            ndimage.gaussian_filter(contrast, across),
            ndimage.gaussian_gradient_magnitude(contrast, across),
            ndimage.gaussian_laplace(contrast, across) * sigma,
        ]
    return np.stack(maps, axis=-1).reshape(-1, len(maps)).astype(np.float32)


def make_stack(name: str, subject: str, image: np.ndarray, truth: np.ndarray) -> Stack:
    contrast = fit_scaling(image, "two_photon").apply(image)
    x, y = ((n - CROP) // 2 for n in image.shape[:2])
    z = image.shape[2] // PATCH[2] * PATCH[2]
    window = (slice(x, x + CROP), slice(y, y + CROP), slice(0, z))
    filters = torch.from_numpy(filters_of(np.ascontiguousarray(contrast[window])))
    return Stack(name, subject, filters, np.ascontiguousarray(truth[window]))


def real(data: Path) -> list[Stack]:
    stacks = []
    for case in cases(data):
        image, label = load(case)
        name = next(n for n, *_ in STACKS if case.name.startswith(n))
        stacks.append(make_stack(name, case.subject, image.array, label.array > 0))
    return stacks


def synthetic(count: int) -> list[Stack]:
    stacks = []
    for seed in range(2000, 2000 + count):
        kind = ("capillary", "large")[seed % 2]
        sample = make_sample(kind, seed, shape=(CROP, CROP, 15))
        stacks.append(make_stack(f"{kind}{seed}", f"{kind}{seed}", sample.image.array, sample.mask.array > 0))
    return stacks


def train(rows: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    mean, spread = rows.mean(0), rows.std(0) + 1e-6
    net = torch.nn.Sequential(
        torch.nn.Linear(rows.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
    rows = (rows - mean) / spread
    for _ in range(STEPS):
        at = torch.randint(len(rows), (BATCH,))
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(rows[at])[:, 0], labels[at]).backward()
        optimizer.step()
        scheduler.step()
    net.mean, net.spread = mean, spread
    return net


@torch.no_grad()
def predict(net: torch.nn.Module, stack: Stack) -> np.ndarray:
    parts = [torch.sigmoid(net((part - net.mean) / net.spread)[:, 0]) for part in stack.filters.split(2**18)]
    return torch.cat(parts).numpy().reshape(stack.truth.shape)


class Pool:
    """All patches of some stacks, by number."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = stacks
        self.grids = [[n // p for n, p in zip(s.truth.shape, PATCH, strict=True)] for s in stacks]
        self.first = np.r_[0, np.cumsum([int(np.prod(g)) for g in self.grids])]

    def voxels(self, number: int) -> tuple[Stack, np.ndarray]:
        owner = int(np.searchsorted(self.first, number, side="right")) - 1
        corner = np.array(np.unravel_index(number - self.first[owner], self.grids[owner])) * PATCH
        axes = [np.arange(c, c + p) for c, p in zip(corner, PATCH, strict=True)]
        return self.stacks[owner], np.ravel_multi_index(np.ix_(*axes), self.stacks[owner].truth.shape).ravel()

    def rows(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [self.voxels(number) for number in numbers]
        filters = torch.cat([stack.filters[voxels] for stack, voxels in parts])
        labels = np.concatenate([stack.truth.ravel()[voxels] for stack, voxels in parts])
        return filters, torch.from_numpy(labels.astype(np.float32))

    def scores(self, volumes: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([patch_scores(volume.astype(np.float32), PATCH).reshape(-1, 4) for volume in volumes])


def learning_curve(pool: Pool, test: Sequence[Stack], way: str, seed: int) -> list[tuple[float, float]]:
    """Return Dice and clDice on the test stacks, round by round."""
    truths = pool.scores([stack.truth for stack in pool.stacks])
    rng = np.random.default_rng(seed)
    labelled = choose(truths, "random", QUERY, rng)
    rng, curve = np.random.default_rng((seed, WAYS.index(way))), []
    for number in range(ROUNDS):
        net = train(*pool.rows(labelled), seed)
        masks = [(stack, predict(net, stack) >= 0.5) for stack in test]
        curve.append(tuple(float(np.mean([score(s.truth, m) for s, m in masks])) for score in (dsc, cldice)))
        if way == BASELINE:
            labelled += choose(truths, "foreground", QUERY, rng, taken=labelled)
        else:
            scores = pool.scores([predict(net, stack) for stack in pool.stacks]) if way != "random" else truths
            labelled += choose(scores, way, QUERY, rng, taken=labelled, sharpness=1.0 + number)
    return curve


def compare(stacks: Sequence[Stack], seeds: int, kind: str, held_out: Sequence[str]) -> list[dict]:
    rows = []
    for subject in held_out:
        pool, test = Pool([s for s in stacks if s.subject != subject]), [s for s in stacks if s.subject == subject]
        start = time.perf_counter()
        for seed in range(seeds):
            for way in WAYS:
                curve = learning_curve(pool, test, way, seed)
                rows.append({"kind": kind, "test": subject, "seed": seed, "way": way, "curve": curve})
        print(f"{kind}, {subject}: {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def summary(rows: list[dict]) -> list[dict]:
    def area(way: str, **where: object) -> np.ndarray:
        of = [r for r in rows if r["way"] == way and all(r[k] == v for k, v in where.items())]
        return np.array([np.mean([dice for dice, _ in r["curve"]]) for r in of])

    seeds, tests = sorted({r["seed"] for r in rows}), sorted({r["test"] for r in rows})
    means = []
    for way in WAYS:
        curves = np.array([r["curve"] for r in rows if r["way"] == way])
        by_seed = np.array([area(way, seed=s).mean() - area(BASELINE, seed=s).mean() for s in seeds])
        by_test = np.array([area(way, test=t).mean() - area(BASELINE, test=t).mean() for t in tests])
        low, high = interval(by_seed)
        below, above = interval(by_test)
        means.append(
            {
                "strategy": way,
                **{f"Dice r{n}": float(curves[:, n, 0].mean()) for n in (0, 1, 3, ROUNDS - 1)},
                f"clDice r{ROUNDS - 1}": float(curves[:, -1, 1].mean()),
                "AUBC": float(area(way).mean()),
                "minus baseline": float(by_seed.mean()),
                "95 %, seeds": f"{low:+.3f}..{high:+.3f}",
                "95 %, test stacks": f"{below:+.3f}..{above:+.3f}",
            }
        )
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon"
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", dest="out", type=Path, help="write all curves there")
    arguments = parser.parse_args()
    stacks, made = real(arguments.data), synthetic(5)
    rows = compare(stacks, arguments.seeds, "real", sorted({s.subject for s in stacks}))
    rows += compare(made, arguments.seeds, "synthetic", [s.subject for s in made[:2]])
    for kind in ("real", "synthetic"):
        print(f"\n{kind}, {arguments.seeds} seeds\n\n{table(summary([r for r in rows if r['kind'] == kind]))}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
