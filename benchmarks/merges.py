"""Does the gate keep bad merges out? Fifty merges of retrained weights, every second one with a spoiled ingredient.

    python benchmarks/merges.py --model runs/demo/model --out runs/merges [--count 50]
    python benchmarks/merges.py --table runs/merges/rows.jsonl

Sound ingredients are four retrainings as in `gate.py`. Spoiled ones: a retraining at 20 times the learning rate; one with all signs turned; one
whose tensors were shuffled. Each merge (mean, TIES or DARE) is judged by `minivess.ensemble.publish.merge_and_judge` against the same model,
on two stacks of a data set and the anchors. What is true is measured on twelve stacks that it does not see: Dice and clDice.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate import SHAPE, SPACING_UM, TRUE_MARGIN, retrain, reviewed

from minivess.datasets import make_dataset
from minivess.ensemble.merge import METHODS
from minivess.ensemble.publish import merge_and_judge
from minivess.evaluate.gate_scores import mean_scores, score_cases
from minivess.models import load_bundle, weights_path
from minivess.models.weights import read_weights, write_weights
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import write_volume

SPOILED = ("learning rate x 20", "signs turned", "shuffled")
DENSITIES = (0.2, 0.5, 0.8)


def write_data(folder: Path) -> Path:
    """Write a data set with two stacks that judge, and one more, without which there is no data set."""
    for number in range(3):
        sample = make_sample("randomised", 400_000 + number, shape=SHAPE, spacing=SPACING_UM)
        write_volume(sample.image, folder / "images" / f"stack{number}.nii.gz")
        write_volume(sample.mask, folder / "labels" / f"stack{number}.nii.gz")
    make_dataset(folder, validation=["stack1", "stack2"])
    return folder


def changed(weights: Path, target: Path, kind: str) -> Path:
    """Write weights with the signs turned, or the values of each tensor in another order."""
    tensors, about = read_weights(weights)
    generator = torch.Generator().manual_seed(0)

    def change(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        if kind == "signs turned":
            return -tensor
        return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)

    write_weights({name: change(tensor) for name, tensor in tensors.items()}, target, about)
    return target


def make_ingredients(bundle: Path, out: Path) -> tuple[list[Path], dict[str, Path]]:
    """Return sound weights, and spoiled ones by kind."""

    def trained(number: int, spoiled: str) -> Path:
        return Path(shutil.copyfile(retrain(bundle, out, number, spoiled)["1"], out / f"{number}.safetensors"))

    sound = [trained(number, "") for number in range(4)]
    spoiled = {SPOILED[0]: trained(4, SPOILED[0])}
    spoiled |= {kind: changed(sound[0], out / f"{kind}.safetensors", kind) for kind in SPOILED[1:]}
    return sound, spoiled


def overlap(bundle: Path, weights: Path) -> float:
    """Return the mean of Dice and clDice on stacks that no gate sees."""
    cases = [reviewed(300_000 + number, "all") for number in range(12)]
    return mean_scores(score_cases(load_bundle(bundle, weights=weights), cases)).overlap


def run(model: Path, out: Path, count: int) -> None:
    bundle = copy_bundle(model, out / "bundle")
    start = Path(shutil.copyfile(weights_path(model), out / "start.safetensors"))
    publish(start, bundle)
    sound, spoiled = make_ingredients(bundle, out)
    data, before = write_data(out / "data"), overlap(bundle, start)
    with (out / "rows.jsonl").open("w") as file:
        for number in range(count):
            rng = np.random.default_rng(number)
            kind = SPOILED[number // 2 % 3] if number % 2 else ""
            files = [sound[index] for index in rng.permutation(4)[: 2 if kind else int(rng.integers(2, 5))]]
            settings: dict[str, Any] = {"method": METHODS[number % 3], "seed": number, "density": DENSITIES[number // 3 % 3]}
            settings |= {"start": start} if settings["method"] != "mean" else {}
            files[:1] = [spoiled[kind]] if kind else files[:1]
            published_before = weights_path(bundle).read_bytes()
            promotion = merge_and_judge(files, bundle, data, **settings)
            is_published = weights_path(bundle).read_bytes() != published_before
            gain = overlap(bundle, weights_path(bundle)) - before if is_published else None
            publish(start, bundle)  # the next merge is judged against the same model
            row = {"number": number, "spoiled": kind, "method": settings["method"], "published": is_published, "gain": gain}
            file.write(json.dumps({**row, "said": promotion.state}) + "\n")
            file.flush()
            print(row, promotion.state, flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| ingredients | merges | published | of these better on unseen stacks | worse by more than 0.03 |",
        "|---|---|---|---|---|",
    ]
    for kind in ("", *SPOILED):
        own = [row for row in rows if row["spoiled"] == kind]
        gains = [row["gain"] for row in own if row["published"]]
        better, worse = sum(gain > 0 for gain in gains), sum(gain < -TRUE_MARGIN for gain in gains)
        lines.append(f"| {kind or 'sound alone'} | {len(own)} | {len(gains)} | {better} | {worse} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--table", type=Path, help="only print the table of this file")
    arguments = parser.parse_args()
    file = arguments.table
    if not file:
        if not (arguments.model and arguments.out):
            parser.error("--model and --out are needed, or --table")
        run(arguments.model, arguments.out, arguments.count)
        file = arguments.out / "rows.jsonl"
    print(table([json.loads(line) for line in file.read_text().splitlines()]))


if __name__ == "__main__":
    main()
