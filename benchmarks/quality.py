"""The quality class of cases without a label: does it rank cases by their true clDice, and do its sets hold the true class?

    python benchmarks/quality.py --model runs/demo/model [--count 60]

The model predicts synthetic stacks of random calibre, noise and contrast that it has not learned. The quality model is fitted on half
of them and judged on the other half, over 20 random halves; beside it the single number that ranks images today, expected errors per
predicted voxel, with a forest of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from scipy.stats import spearmanr

from minivess.metrics import cldice
from minivess.models import load_bundle
from minivess.synth import make_sample
from minivess.uncertainty.case_features import case_features
from minivess.uncertainty.quality import QualityModel

SHAPE, FIRST_SEED, HALVES = (144, 144, 16), 50_000, 20
ALONE = "expected_errors_per_predicted_voxel"


def judge(features: dict[str, list[float]], scores: np.ndarray, learned: np.ndarray) -> list[float]:
    """Return rank correlation, mean error of clDice, coverage, mean number of classes, share of bad cases called usable alone."""
    rest = np.setdiff1d(np.arange(len(scores)), learned)
    names = [f"m{n}" for n in learned]
    model = QualityModel({k: [v[n] for n in learned] for k, v in features.items()}, scores[learned].tolist(), names)
    found = [model.estimate({name: values[n] for name, values in features.items()}) for n in rest]
    expected, true = np.array([q.cldice for q in found]), scores[rest]
    covered = [model.class_of(score) in q.classes for score, q in zip(true, found, strict=True)]
    bad = [q.classes == ("usable",) for score, q in zip(true, found, strict=True) if model.class_of(score) == "retrain"]
    rank = float(spearmanr(expected, true).statistic)
    sizes = [len(q.classes) for q in found]
    return [
        rank,
        float(np.abs(expected - true).mean()),
        float(np.mean(covered)),
        float(np.mean(sizes)),
        float(np.mean(bad or [0])),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    model = load_bundle(arguments.model)
    rows, scores = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.count):
        sample = make_sample("randomised", seed, shape=SHAPE)
        prediction = model.predict(sample.image)
        rows.append(case_features(prediction))
        scores.append(cldice(sample.mask.array > 0, prediction.mask.array > 0))
    true = np.array(scores)
    print(f"{len(true)} stacks, clDice {true.mean():.3f} ({true.min():.2f} to {true.max():.2f})")
    print("| features | rank correlation | error of clDice | true class in the set | classes in a set | bad called usable |")
    print("|---|---|---|---|---|---|")
    table = {name: [row[name] for row in rows] for name in rows[0]}
    for words, features in ((f"all {len(table)}", table), (f"{ALONE} alone", {ALONE: table[ALONE]})):
        rng = np.random.default_rng(0)
        results = np.array([judge(features, true, rng.permutation(len(true))[: len(true) // 2]) for _ in range(HALVES)])
        cells = " | ".join(f"{mean:.2f} (sd {sd:.2f})" for mean, sd in zip(results.mean(0), results.std(0), strict=True))
        print(f"| {words} | {cells} |")


if __name__ == "__main__":
    main()
