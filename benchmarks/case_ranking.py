"""Which score of a prediction ranks volumes as their true error does? Spearman with 1 - Dice, and AUGRC.

    python benchmarks/case_ranking.py --models runs/two_photon

MONAI Label's own score is the mean of -p log p over the volume (its epistemic scoring, fed here with this prediction as it would be
with the mean of its dropout passes). AUGRC (arXiv 2407.01032): mean, over all shares of volumes that are accepted without a review,
most certain first, of the error that remains; lower is better. Intervals: 95 % bootstrap over volumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from conformal import pieces
from held_out import HeldOut, add_arguments, real, synthetic, table
from scipy.stats import spearmanr

from minivess.metrics import dsc
from minivess.models import Prediction
from minivess.uncertainty import expected_errors_per_predicted_voxel, soft_dice_confidence


def monai_label(prediction: Prediction) -> float:
    p = np.clip(prediction.probability.array.astype(np.float64), 1e-10, 1.0)
    return float(np.mean(-p * np.log(p)))


#: Scores that are high for a volume with many expected errors.
SCORES: dict[str, Callable[[Prediction], float]] = {
    "MONAI Label (mean of -p log p)": monai_label,
    "mean entropy": lambda p: float(p.uncertainty.array.mean()),
    "mean entropy of what is drawn": lambda p: float(p.uncertainty.array[p.mask.array > 0].mean()) if p.mask.array.any() else 1.0,
    "ours: expected errors per predicted voxel": lambda p: expected_errors_per_predicted_voxel(p.probability.array, p.threshold),
    "ours: 1 - soft-Dice confidence": lambda p: 1 - soft_dice_confidence(p.probability.array, p.threshold),
}


def augrc(score: np.ndarray, risk: np.ndarray) -> float:
    return float(risk[np.argsort(score, kind="stable")].cumsum().mean() / len(risk))


def rows_of(name: str, volumes: Sequence[HeldOut], draws: int = 2000) -> list[dict]:
    risk = np.array([1 - dsc(v.truth, v.prediction.mask.array) for v in volumes])
    scores = {label: np.array([score(v.prediction) for v in volumes]) for label, score in SCORES.items()}
    scores["random"] = np.random.default_rng(0).random(len(volumes))
    scores["oracle"] = risk
    rng, rows = np.random.default_rng(1), []
    samples = [rng.integers(0, len(risk), len(risk)) for _ in range(draws)]
    samples = [s for s in samples if len(np.unique(s)) > 2]
    for label, score in scores.items():
        rhos = [spearmanr(score[s], risk[s]).statistic for s in samples]
        low, high = np.nanpercentile(rhos, (2.5, 97.5))
        rows.append(
            {
                "volumes": name,
                "score": label,
                "Spearman with 1 - Dice": float(spearmanr(score, risk).statistic),
                "95 %": f"{low:+.2f}..{high:+.2f}",
                "AUGRC": augrc(score, risk),
            }
        )
    base = next(r["AUGRC"] for r in rows if r["score"] == "mean entropy")
    best = next(r["AUGRC"] for r in rows if r["score"] == "oracle")
    for row in rows:
        row["AUGRC above oracle, share of mean entropy's"] = (row["AUGRC"] - best) / (base - best)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    arguments = parser.parse_args()
    stacks, made = real(arguments.models, arguments.data), synthetic(arguments.models)
    cut = pieces(stacks)
    rows = rows_of("5 real stacks", stacks) + rows_of(f"{len(cut)} pieces of them", cut) + rows_of(f"{len(made)} synthetic", made)
    print(table(rows))


if __name__ == "__main__":
    main()
