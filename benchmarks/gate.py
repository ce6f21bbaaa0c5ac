"""Does the promotion gate publish better models and refuse spoiled ones? Many short retrainings, every second one spoiled on purpose.

    python benchmarks/gate.py --model runs/two_photon/synthetic --out runs/gate [--count 100] [--seed 0]
    python benchmarks/gate.py --table runs/gate/rows.jsonl [MORE.jsonl ...]

Each retraining learns half of one randomised stack; its other half judges. Spoiled ones: `wrong labels`, thin vessels are left out of the
label or all are drawn two voxels too wide, also where the model is judged; `one stack only`, no rehearsal and four times the steps;
`learning rate x 20`. What is true is measured where the gate does not look: Dice and clDice, with right labels, of the judged half and of
twelve other randomised stacks. A share of new weights is truly better when the mean of both rises on its own stack and falls on the others
by no more than 0.03; a retraining is when one of its shares is. All scores are written to `rows.jsonl`, one line a retraining: the table is
made of them by the gate's own rule, so that a changed rule needs no new training.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from scipy import ndimage

from minivess.datasets import TrainingCase
from minivess.evaluate import GateScores, Promotion, ReviewedCase, synthetic_anchors
from minivess.evaluate.anchors import Anchor, compare_anchors
from minivess.evaluate.gate_scores import mean_scores, score_cases
from minivess.evaluate.promotion import best_of
from minivess.models import BundleSegmenter, load_bundle, weights_path
from minivess.models.interpolate import interpolate_weights
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish, rehearsal_cases, train_bundle
from minivess.train.rehearsal import balanced
from minivess.train.retrain import SHARES, continued_settings
from minivess.volume import write_volume

SHAPE, SPACING_UM = (144, 144, 12), (1.0, 1.0, 4.0)
SPOILED = ("wrong labels", "one stack only", "learning rate x 20")
STEPS, RATE = 40, 0.001
TRUE_MARGIN = 0.03
#: Scores as plain values, one row a case.
Rows = list[dict[str, float | None]]


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


def label_of(number: int, spoiled: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes a retraining's label of the true mask."""
    return lambda mask: wrong(mask, np.random.default_rng(number)) if spoiled == "wrong labels" else mask


def retrain(bundle: Path, out: Path, number: int, spoiled: str) -> dict[str, Path]:
    """Retrain once; return the weights by their share of new ones."""
    case = reviewed(200_000 + number, "left", label_of(number, spoiled))
    new = as_training_case(case, out / "case", f"case{number}")
    alone = spoiled == "one stack only"
    rehearsed = [] if alone else rehearsal_cases(bundle, [new], modality="two_photon", folder=out / "rehearsal")
    overrides = {
        **continued_settings(bundle, "tiny"), **({"soft_weight": 0.0} if alone else {}),
        "epochs": 1, "iterations_per_epoch": STEPS * (4 if alone else 1), "val_interval": 1,
        "learning_rate": RATE * (20 if spoiled == "learning rate x 20" else 1),
        "seed": int(np.random.default_rng(number).integers(1000)),
    }  # fmt: skip
    shutil.rmtree(out / "run", ignore_errors=True)
    trained = train_bundle(
        bundle, training=balanced([new], rehearsed), validation=[new], output=out / "run", preset="tiny",
        init_weights=weights_path(bundle), overrides=overrides,
    ).weights  # fmt: skip
    return {f"{s:g}": interpolate_weights(weights_path(bundle), trained, s, out / "run" / f"{s:g}.safetensors") for s in SHARES}


def scores_of(model: BundleSegmenter, cases: dict[str, list[ReviewedCase]]) -> dict[str, Rows]:
    return {name: [scores.to_json() for scores in score_cases(model, group)] for name, group in cases.items()}


def run(model: Path, out: Path, numbers: Iterable[int]) -> None:
    """Retrain, and write what both models score on every group of cases."""
    bundle = copy_bundle(model, out / "bundle")
    publish(weights_path(model), bundle)
    before = load_bundle(bundle)
    fixed = {anchor.name: list(anchor.cases()) for anchor in synthetic_anchors("two_photon")}
    fixed["others"] = [reviewed(300_000 + n, "all") for n in range(12)]
    known = scores_of(before, fixed)
    with (out / "rows.jsonl").open("a") as file:
        for number in numbers:
            spoiled = SPOILED[number // 2 % 3] if number % 2 else ""
            seed = 200_000 + number
            own = {"judged": [reviewed(seed, "right", label_of(number, spoiled))], "own": [reviewed(seed, "right")]}
            shares = retrain(bundle, out, number, spoiled)
            row = {
                "number": number,
                "spoiled": spoiled,
                "before": known | scores_of(before, own),
                "shares": {share: scores_of(load_bundle(bundle, weights=path), fixed | own) for share, path in shares.items()},
            }
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(number, spoiled or "as usual", decide(row).state, flush=True)


def read_scores(rows: Rows) -> list[GateScores]:
    return [GateScores(**row) for row in rows]


def decide(row: dict[str, Any]) -> Promotion:
    """Apply the gate's rule to the scores of one retraining."""
    anchors = synthetic_anchors("two_photon")
    before = {name: read_scores(rows) for name, rows in row["before"].items()}
    decisions = []
    for share, scores in row["shares"].items():
        after = {name: read_scores(rows) for name, rows in scores.items()}

        def pairs(anchor: Anchor, after: dict[str, list[GateScores]] = after) -> list[tuple[GateScores, GateScores]]:
            both = zip(before[anchor.name], after[anchor.name], strict=True)
            return [(b, a) for b, a in both if b.dice >= anchor.known_from]

        results = compare_anchors((anchor, pairs(anchor)) for anchor in anchors)
        decisions.append(Promotion(share, mean_scores(after["judged"]), mean_scores(before["judged"]), results))
    return best_of(decisions)


def truly_better(row: dict[str, Any], share: str) -> bool:
    gain, others = (
        mean_scores(read_scores(row["shares"][share][name])).overlap - mean_scores(read_scores(row["before"][name])).overlap
        for name in ("own", "others")
    )
    return gain > 0 and others >= -TRUE_MARGIN


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| retraining | number | published | truly better | of these published | truly worse and published |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("", *SPOILED):
        own = [(row, decide(row)) for row in rows if row["spoiled"] == kind]
        published = [(row, decision) for row, decision in own if decision.promoted]
        better = [(row, decision) for row, decision in own if any(truly_better(row, share) for share in row["shares"])]
        worse = sum(not truly_better(row, decision.candidate) for row, decision in published)
        of_these = sum(decision.promoted for _, decision in better)
        lines.append(f"| {kind or 'as usual'} | {len(own)} | {len(published)} | {len(better)} | {of_these} | {worse} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="number of the first retraining")
    parser.add_argument("--table", type=Path, nargs="+", help="only print the table of these files")
    arguments = parser.parse_args()
    files = arguments.table
    if not files:
        if not (arguments.model and arguments.out):
            parser.error("--model and --out are needed, or --table")
        run(arguments.model, arguments.out, range(arguments.seed, arguments.seed + arguments.count))
        files = [arguments.out / "rows.jsonl"]
    print(table([json.loads(line) for file in files for line in file.read_text().splitlines()]))


if __name__ == "__main__":
    main()
