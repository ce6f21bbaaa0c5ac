"""Does the promotion gate publish better models and refuse spoiled ones? Many short retrainings, every second one spoiled on purpose.

    python benchmarks/gate.py --model runs/two_photon/synthetic --out runs/gate [--count 100] [--seed 0]

Each retraining learns half of one randomised stack; its other half judges. Spoiled ones: `wrong labels`, thin vessels are left out of the
label or all are drawn two voxels too wide, also where the model is judged; `one stack only`, no rehearsal and four times the steps;
`learning rate x 20`. What is true is measured where the gate does not look: Dice and clDice, with right labels, of the judged half and of
twelve other randomised stacks. A model is truly better when the mean of both rises on its own stack and falls on the others by no more than the
gate's margin; a spoiled one that was published is counted, and how many of them were truly worse.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from scipy import ndimage

from minivess.evaluate import Promotion, ReviewedCase, choose_model, score_model, synthetic_anchors
from minivess.evaluate.anchors import MARGIN
from minivess.models import BundleSegmenter, load_bundle, weights_path
from minivess.models.interpolate import interpolate_weights
from minivess.synth import make_sample
from minivess.train import TrainingCase, copy_bundle, publish, rehearsal_cases, train_bundle
from minivess.train.rehearsal import balanced
from minivess.train.retrain import SHARES, continued_settings
from minivess.volume import write_volume

SHAPE, SPACING_UM = (144, 144, 12), (1.0, 1.0, 4.0)
SPOILED = ("wrong labels", "one stack only", "learning rate x 20")
STEPS, RATE = 40, 0.001


def wrong(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave thin vessels out, or draw all vessels two voxels too wide."""
    flat = np.ones((3, 3, 1), bool)
    if rng.random() < 0.5:
        return ndimage.binary_opening(mask, flat, iterations=3)
    return ndimage.binary_dilation(mask, flat, iterations=2)


def reviewed(sample_seed: int, part: str, label: Callable[[np.ndarray], np.ndarray] = lambda mask: mask) -> ReviewedCase:
    sample = make_sample("randomised", sample_seed, shape=SHAPE, spacing=SPACING_UM)
    counts = np.zeros(SHAPE, bool)
    half = SHAPE[0] // 2
    counts[{"left": slice(0, half), "right": slice(half, None), "all": slice(None)}[part]] = True
    return ReviewedCase(sample.image, sample.mask.with_array(label(sample.mask.array > 0).astype(np.uint8)), counts)


def as_training_case(case: ReviewedCase, folder: Path, name: str) -> TrainingCase:
    paths = [folder / f"{name}_{part}.nii.gz" for part in ("image", "label", "reviewed")]
    for path, volume in zip(paths, (case.image, case.label, case.label.with_array(case.reviewed.astype(np.uint8))), strict=True):
        write_volume(volume, path)
    return TrainingCase(paths[0], paths[1], name, unit="um", reviewed=paths[2])


def one(bundle: Path, out: Path, number: int, spoiled: str) -> tuple[Promotion, BundleSegmenter]:
    """Retrain once; return the decision, and the model that it is about."""
    rng = np.random.default_rng(number)
    seed = 200_000 + number

    def label(mask: np.ndarray) -> np.ndarray:
        return wrong(mask, np.random.default_rng(number)) if spoiled == "wrong labels" else mask

    new = as_training_case(reviewed(seed, "left", label), out / "case", f"case{number}")
    rehearsed = (
        [] if spoiled == "one stack only" else rehearsal_cases(bundle, [new], modality="two_photon", folder=out / "rehearsal")
    )
    steps = STEPS * (4 if spoiled == "one stack only" else 1)
    rate = RATE * (20 if spoiled == "learning rate x 20" else 1)
    overrides = {
        **continued_settings(bundle, "tiny"), **({"soft_weight": 0.0} if spoiled == "one stack only" else {}),
        "epochs": 1, "iterations_per_epoch": steps, "val_interval": 1, "learning_rate": rate, "seed": int(rng.integers(1000)),
    }  # fmt: skip
    shutil.rmtree(out / "run", ignore_errors=True)
    trained = train_bundle(
        bundle, training=balanced([new], rehearsed), validation=[new], output=out / "run", preset="tiny",
        init_weights=weights_path(bundle), overrides=overrides,
    ).weights  # fmt: skip
    shares = {f"{s:g}": interpolate_weights(weights_path(bundle), trained, s, out / "run" / f"{s:g}.safetensors") for s in SHARES}
    decision = choose_model(
        {name: (lambda weights=weights: load_bundle(bundle, weights=weights)) for name, weights in shares.items()},
        load_bundle(bundle),
        lambda: [reviewed(seed, "right", label)],
        synthetic_anchors("two_photon"),
    )
    return decision, load_bundle(bundle, weights=shares[decision.candidate])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="number of the first retraining")
    arguments = parser.parse_args()
    bundle = copy_bundle(arguments.model, arguments.out / "bundle")
    publish(weights_path(arguments.model), bundle)
    before, rows = load_bundle(bundle), []
    others = [reviewed(300_000 + n, "all") for n in range(12)]
    known = score_model(before, others).overlap
    for number in range(arguments.seed, arguments.seed + arguments.count):
        spoiled = SPOILED[number // 2 % 3] if number % 2 else ""
        decision, model = one(bundle, arguments.out, number, spoiled)
        own = [reviewed(200_000 + number, "right")]
        gain = score_model(model, own).overlap - score_model(before, own).overlap
        change = score_model(model, others).overlap - known
        row = {"spoiled": spoiled, "published": decision.promoted, "gain": gain, "others": change, "state": decision.state}
        rows.append(row | {"better": gain > 0 and change >= -MARGIN, "share": decision.candidate})
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}), flush=True)
    print(
        "| retraining | number | published | truly better | of these published | truly worse and published |\n|---|---|---|---|---|---|"
    )
    for kind in ("", *SPOILED):
        own_rows = [row for row in rows if row["spoiled"] == kind]
        better = [row for row in own_rows if row["better"]]
        published = sum(row["published"] for row in own_rows)
        worse = sum(row["published"] and not row["better"] for row in own_rows)
        print(
            f"| {kind or 'as usual'} | {len(own_rows)} | {published} | {len(better)} | {sum(r['published'] for r in better)} | {worse} |"
        )


if __name__ == "__main__":
    main()
