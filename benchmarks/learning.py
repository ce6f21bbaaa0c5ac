"""Does a round of review make the model better where it was reviewed, and does it forget nothing elsewhere?

    python benchmarks/learning.py --model runs/two_photon/synthetic --out runs/learning [--seed 0] [--places 30 60 120]

The model has seen synthetic stacks only. For each of the five real stacks, its queue's first places are answered with the truth, the model
is trained on them, and scored on the voxels of that stack that were not reviewed, on its sister stack (the same animal) and on the central
256 x 256 pixels of the stacks of all other animals. Ways: `before`; `all together`, half of the patches from synthetic stacks, a quarter
each from ranked places and from random checks, and the old model's probabilities as targets of the synthetic stacks and where nobody has
looked; `all together, half old`, interpolated; `gate`, the share of new weights that the promotion gate chooses, the old model where it
refuses all. With `--parts` also `boxes alone`, as the label app did at first, and `rehearsal` without soft targets; with `--checks` also
patches from random checks by their voxels (`alike`), about one in ten, with what the gate publishes of that; with `--whole-label` the
same training with the whole label of the stack, what it is scored on included: the most that its steps can gain there; with
`--from-scratch` a training from random weights on all that is known (160 synthetic stacks and the reviewed places), the upper reference.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from two_photon import RECIPE, STACKS, cases, load, synthetic_cases

from minivess.datasets import TrainingCase
from minivess.evaluate import ReviewedCase, choose_model, synthetic_anchors
from minivess.metrics import betti_numbers, cldice, dsc
from minivess.models import BundleSegmenter, load_bundle, weights_path
from minivess.models.interpolate import interpolate_weights
from minivess.models.normalise import fit_scaling
from minivess.review.analysis import analyse_prediction
from minivess.review.proposal import propose_regions
from minivess.store.region import Region
from minivess.train import copy_bundle, publish, rehearsal_cases, train_bundle
from minivess.train.rehearsal import balanced
from minivess.train.retrain import SHARES, continued_settings
from minivess.volume import Box, Volume, write_volume

EDGE = 256
#: Kinds of places, and whether they were drawn at random.
KINDS = (("ranked", False), ("random_checks", True))
SCORES = ("Dice", "clDice", "Betti-0")


def scores_of(
    model: BundleSegmenter, image: Volume, truth: np.ndarray, box: Box, counts: np.ndarray | None = None
) -> dict[str, float]:
    """Score a box of a stack, on the voxels that count."""
    mask = model.predict(image, roi=[n for pair in zip(box.low, box.high, strict=True) for n in pair]).mask.array > 0
    reference, predicted = truth[box.slices], mask[box.slices]
    if counts is not None:
        reference, predicted = reference & counts[box.slices], predicted & counts[box.slices]
    pieces = abs(betti_numbers(predicted)[0] - betti_numbers(reference)[0])
    return dict(zip(SCORES, (dsc(reference, predicted), cldice(reference, predicted), float(pieces)), strict=True))


def central(shape: tuple[int, int, int]) -> Box:
    low = [max(0, (n - EDGE) // 2) for n in shape[:2]]
    return Box.from_corners((*low, 0), (*(min(n, a + EDGE) for a, n in zip(low, shape[:2], strict=True)), shape[2]))


def places(model: BundleSegmenter, image: Volume, count: int, seed: int) -> list[Region]:
    """Return the first places of the queue, one in ten of them drawn at random, as annotators get them."""
    prediction = model.predict(image)
    contrast = fit_scaling(image.array, model.capabilities.modality).apply(image.array)
    mask = prediction.mask.array > 0
    analysis = analyse_prediction(prediction.probability, mask, contrast, threshold=prediction.threshold)
    return list(propose_regions(analysis, count=count, rng=np.random.default_rng(seed)).regions[:count])


def voxels_of(regions: list[Region], shape: tuple[int, int, int]) -> np.ndarray:
    voxels = np.zeros(shape, bool)
    for region in regions:
        voxels[region.box.slices] = True
    return voxels


def write_case(case: TrainingCase, image: Volume, truth: np.ndarray, voxels: np.ndarray, file: Path) -> TrainingCase:
    label = file.with_name(f"label_{file.name}")
    for path, array in ((label, truth), (file, voxels)):
        write_volume(image.with_array(array.astype(np.uint8)), path)
    return replace(case, label=label, reviewed=file)


def ways(
    base: Path, case: TrainingCase, regions: list[Region], out: Path, seed: int, also: frozenset[str]
) -> Iterator[tuple[str, Path]]:
    """Train on the places in each way; give the name of the way and its weights."""
    image, label = load(case)
    truth = label.array > 0
    judged = voxels_of(regions[::5], image.shape)

    def learned(name: str, places_: list[Region]) -> TrainingCase:
        return write_case(case, image, truth, voxels_of(places_, image.shape) & ~judged, out / f"{name}.nii.gz")

    whole = learned("learned", regions)
    parts = [learned(name, [r for r in regions if (r.kind == "random check") == drawn]) for name, drawn in KINDS]
    bundle = copy_bundle(base, out / "bundle")
    publish(weights_path(base), bundle)
    settings = {**continued_settings(bundle, "tiny"), "seed": seed}
    published = load_bundle(bundle)

    def trained(name: str, training: list[TrainingCase], **changed: float) -> Path:
        return train_bundle(
            bundle, training=training, validation=[whole], output=out / name, preset="tiny", init_weights=weights_path(bundle),
            overrides={**settings, "val_interval": settings["epochs"], **changed},
        ).weights  # fmt: skip

    def mixed(weights: Path, share: float) -> Path:
        if share == 1:
            return weights
        return interpolate_weights(weights_path(bundle), weights, share, weights.with_name(f"{share:g}.safetensors"))

    def gated(weights: Path) -> Path:
        shares = {f"{share:g}": mixed(weights, share) for share in SHARES}
        models = {name: partial(load_bundle, bundle, weights=path) for name, path in shares.items()}
        decision = choose_model(models, published, lambda: [ReviewedCase(image, label, judged)], synthetic_anchors("two_photon"))
        print(f"  gate: {decision.candidate}, gain {decision.gain:+.3f}: {decision.state}", flush=True)
        return shares[decision.candidate] if decision.promoted else weights_path(bundle)

    rehearsed = rehearsal_cases(bundle, [whole], modality="two_photon", folder=out / "rehearsal")
    together = balanced(parts, rehearsed)
    yield "before", weights_path(bundle)
    if "parts" in also:
        yield "boxes alone", trained("alone", [whole], soft_weight=0.0)
        yield "rehearsal", trained("rehearsal", together, soft_weight=0.0)
    new = trained("together", together)
    yield "all together", new
    yield "all together, half old", mixed(new, 0.5)
    yield "gate", gated(new)
    if "checks" in also:
        alike = trained("alike", balanced([whole], rehearsed))
        yield "checks alike", alike
        yield "checks alike, gate", gated(alike)
    if "whole" in also:
        yield "whole label", trained("whole", balanced([replace(whole, reviewed=None)], rehearsed))
    if "scratch" in also:
        known = balanced(parts, synthetic_cases(out.parent / "synthetic_data"))
        yield (
            "from scratch",
            train_bundle(
                bundle,
                training=known,
                validation=[whole],
                output=out / "scratch",
                preset="tiny",
                overrides={**RECIPE, "seed": seed},
            ).weights,
        )


def rows_of(
    base: Path, everything: list[TrainingCase], index: int, count: int, out: Path, seed: int, also: frozenset[str]
) -> list[dict]:
    case = everything[index]
    image, _ = load(case)
    regions = places(load_bundle(base), image, count, seed)
    unreviewed = ~voxels_of(regions, image.shape)
    rows = []
    for way, weights in ways(base, case, regions, out, seed, also):
        model = load_bundle(base, weights=weights)
        for other in everything:
            volume, truth = load(other)
            own = other is case
            where = "rest" if own else "sister" if other.subject == case.subject else "others"
            box = Box.from_corners((0, 0, 0), volume.shape) if own else central(volume.shape)
            found = scores_of(model, volume, truth.array > 0, box, unreviewed if own else None)
            rows.append(
                {"reviewed": STACKS[index][0], "places": len(regions), "way": way, "where": where, "stack": other.name, **found}
            )
        last = [row for row in rows if row["way"] == way]
        print(f"  {way}: " + ", ".join(f"{r['where']} {r['Dice']:.3f}/{r['clDice']:.3f}" for r in last), flush=True)
    return rows


def report(rows: list[dict]) -> None:
    """Print the mean change against `before`, with a bootstrap interval over the reviewed stacks."""
    rng = np.random.default_rng(0)
    reviewed = sorted({row["reviewed"] for row in rows})
    before = {(r["reviewed"], r["places"], r["stack"]): r for r in rows if r["way"] == "before"}
    print("| places | way | where | " + " | ".join(SCORES) + " | worst Dice |\n|---|---|---|" + "---|" * (len(SCORES) + 1))
    for places_, way, where in dict.fromkeys((r["places"], r["way"], r["where"]) for r in rows if r["way"] != "before"):
        own = [r for r in rows if (r["places"], r["way"], r["where"]) == (places_, way, where)]
        cells = []
        for score in SCORES:
            change = {s: [r[score] - before[s, places_, r["stack"]][score] for r in own if r["reviewed"] == s] for s in reviewed}
            means = np.array([np.mean(values) for values in change.values() if values])
            low, high = np.percentile([rng.choice(means, len(means)).mean() for _ in range(5000)], (2.5, 97.5))
            digits = 1 if score == "Betti-0" else 3
            cells.append(f"{means.mean():+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
        worst = min(r["Dice"] - before[r["reviewed"], places_, r["stack"]]["Dice"] for r in own)
        print(f"| {places_} | {way} | {where} | " + " | ".join(cells) + f" | {worst:+.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--model", type=Path, required=True, help="bundle that has learned no real stack")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stack", choices=[name for name, *_ in STACKS], action="append", help="only these are reviewed")
    parser.add_argument("--places", type=int, nargs="+", default=[60])
    parser.add_argument(
        "--parts", dest="also", action="append_const", const="parts", help="train in each part of the way alone, too"
    )
    parser.add_argument(
        "--from-scratch", dest="also", action="append_const", const="scratch", help="train from random weights, too"
    )
    parser.add_argument(
        "--checks", dest="also", action="append_const", const="checks", help="weigh the random checks in other ways, too"
    )
    parser.add_argument("--whole-label", dest="also", action="append_const", const="whole", help="train on the whole label, too")
    arguments = parser.parse_args()
    everything, rows = cases(arguments.data), []
    for count in arguments.places:
        for index in (n for n, (name, *_) in enumerate(STACKS) if name in (arguments.stack or [name])):
            folder = arguments.out / f"{STACKS[index][0]}_{count}"
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{STACKS[index][0]}, {count} places", flush=True)
            rows += rows_of(arguments.model, everything, index, count, folder, arguments.seed, frozenset(arguments.also or ()))
            (arguments.out / "rows.json").write_text(json.dumps(rows, indent=1))
    report(rows)


if __name__ == "__main__":
    main()
