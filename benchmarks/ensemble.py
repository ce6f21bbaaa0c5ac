"""Is an ensemble better than its members, and does their disagreement say which volume, and which place, is bad?

    python benchmarks/ensemble.py --out runs/ensemble --member a=FOLDER --member b=FOLDER --member c=FOLDER --other vessap=FOLDER

Members are trained bundles that have seen no real stack, such as those of `recipes.py --way "as built"` with three seeds; `--other` is one of
another network. Stacks: randomised synthetic ones that no member has learned, and the five real ones, whole and in eight pieces. Two ensembles:
the members, and the members with the other one. Scores of a volume, against 1 - Dice of the same model: expected errors per predicted voxel, and
the mean disagreement (mutual information) of what is drawn. Places: gain over the first 20 % of the volume, as in review_curve.py.
Intervals: 95 % bootstrap over volumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from conformal import pieces
from held_out import HeldOut, interval, table
from review_curve import BLOCK_SHAPE, Task, order_by, task_from
from scipy.stats import spearmanr
from two_photon import cases, load

from minivess.ensemble import write_ensemble
from minivess.metrics import betti_numbers, cldice, dsc
from minivess.models import Prediction, load_bundle, weights_path
from minivess.models.small_pieces import suppress_small_pieces
from minivess.models.threshold import choose_threshold
from minivess.paths import file_sha256
from minivess.review.blocks import sum_blocks
from minivess.synth import make_sample
from minivess.uncertainty import combine, expected_errors_per_predicted_voxel
from minivess.volume import Volume

SEEDS, SHAPE, SPACING_UM = range(310_000, 310_040), (160, 160, 16), (1.0, 1.0, 3.0)
MIN_PIECE_MASS = 40.0


def stacks(data: Path) -> Iterator[tuple[str, str, Volume, np.ndarray]]:
    """Yield kind, name, image and truth."""
    for case in cases(data):
        image, label = load(case)
        yield "real", case.name, image, label.array > 0
    for seed in SEEDS:
        sample = make_sample("randomised", seed, shape=SHAPE, spacing=SPACING_UM)
        yield "synthetic", f"randomised{seed}", sample.image, sample.mask.array > 0


def predicted(image: Volume, bundle: Path, file: Path) -> Prediction:
    """Predict once; the next run reads the probability."""
    if not file.is_file():
        prediction = load_bundle(bundle).predict(image)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, probability=prediction.probability.array, threshold=prediction.threshold)
    with np.load(file) as cached:
        probability, threshold = image.with_array(cached["probability"]), float(cached["threshold"])
    return Prediction(probability, probability, load_bundle(bundle).model, threshold)


def together(members: list[Prediction]) -> Prediction:
    """Combine members as :class:`minivess.ensemble.EnsembleSegmenter` does; its uncertainty is their disagreement."""
    image = members[0].probability
    combined = combine(iter([member.probability.array for member in members]))
    suppress_small_pieces(combined.probability, MIN_PIECE_MASS)
    threshold = choose_threshold(combined.probability, "expected_dice")
    disagreement = image.with_array(combined.mutual_information)
    return Prediction(image.with_array(combined.probability), disagreement, members[0].model, threshold)


def check_against_the_bundle(image: Volume, members: list[Path], combined: Prediction, folder: Path) -> None:
    ensemble = folder if folder.is_dir() else write_ensemble(members, folder)
    own = load_bundle(ensemble).predict(image)
    difference = float(np.abs(own.probability.array - combined.probability.array).max())
    assert difference < 1e-3, f"the ensemble as a bundle differs by {difference}"


def row_of(kind: str, model: str, volumes: list[HeldOut]) -> dict[str, object]:
    masks = [v.prediction.mask.array > 0 for v in volumes]
    dice = np.array([dsc(v.truth, mask) for v, mask in zip(volumes, masks, strict=True)])
    errors = [expected_errors_per_predicted_voxel(v.prediction.probability.array, v.prediction.threshold) for v in volumes]
    disagreement = [
        float(v.prediction.uncertainty.array[mask].mean()) if mask.any() else 1.0 for v, mask in zip(volumes, masks, strict=True)
    ]
    low, high = interval(dice)
    row: dict[str, object] = {
        "stacks": f"{len(volumes)} {kind}",
        "model": model,
        "Dice": float(dice.mean()),
        "95 %": f"{low:.3f}..{high:.3f}",
    }
    if kind != "pieces":
        row["clDice"] = float(np.mean([cldice(v.truth, mask) for v, mask in zip(volumes, masks, strict=True)]))
        row["pieces, median"] = float(np.median([betti_numbers(mask)[0] for mask in masks]))
    else:
        row |= {"clDice": "", "pieces, median": ""}
    row["Spearman, expected errors"] = float(spearmanr(errors, 1 - dice).statistic)
    row["Spearman, disagreement"] = float(spearmanr(disagreement, 1 - dice).statistic) if model.startswith("ensemble") else ""
    return row


def gains(task: Task, disagreement: np.ndarray) -> dict[str, float]:
    """Compute the gain of orders of places; random is 0, the oracle 1."""
    information = sum_blocks(disagreement, task.blocks.block_shape).ravel() / task.blocks.voxels
    scores = {"ours, rule alone": task.maps["ours, rule alone"], "disagreement": information}
    base, top = task.area(order_by(task.maps["random"])), task.area(order_by(task.maps["oracle by voxels"]))
    return {name: (task.area(order_by(score)) - base) / (top - base) for name, score in scores.items()}


def places(kind: str, model: str, volumes: list[HeldOut]) -> list[dict[str, object]]:
    tasks = [(volume, task_from(volume, BLOCK_SHAPE)) for volume in volumes]
    found = [gains(task, volume.prediction.uncertainty.array) for volume, task in tasks if task.inside.shape[1]]
    rows: list[dict[str, object]] = []
    for name in found[0]:
        values = np.array([gain[name] for gain in found])
        low, high = interval(values)
        rows.append(
            {
                "stacks": f"{len(found)} {kind}",
                "model": model,
                "order": name,
                "gain": float(values.mean()),
                "95 %": f"{low:.3f}..{high:.3f}",
            }
        )
    return rows


def named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--member", type=named, action="append", required=True, help="NAME=FOLDER of a trained bundle")
    parser.add_argument("--other", type=named, required=True, help="NAME=FOLDER of a bundle of another network")
    arguments = parser.parse_args()
    own, (other, other_bundle) = dict(arguments.member), arguments.other
    bundles = own | {other: other_bundle}
    weights = {key: file_sha256(weights_path(bundle)) for key, bundle in bundles.items()}
    of_model: dict[tuple[str, str], list[HeldOut]] = {}
    for number, (kind, name, image, truth) in enumerate(stacks(arguments.data)):
        members = {
            key: predicted(image, bundle, arguments.out / f"{key}-{weights[key][:12]}" / f"{name}.npz")
            for key, bundle in bundles.items()
        }
        models = members | {
            "ensemble": together([members[key] for key in own]),
            f"ensemble with {other}": together([*members.values()]),
        }
        if number == 0:
            check_against_the_bundle(
                image, [*own.values()], models["ensemble"], arguments.out / "-".join(weights[key][:6] for key in own)
            )
        for model, prediction in models.items():
            of_model.setdefault((kind, model), []).append(HeldOut(name, name, image, truth, prediction))
        print(kind, name, flush=True)
    rows, found = [], []
    for (kind, model), volumes in of_model.items():
        rows.append(row_of(kind, model, volumes))
        if kind == "real":
            rows.append(row_of("pieces", model, pieces(volumes)))
        if model.startswith("ensemble"):
            found += places(kind, model, volumes)
    print(f"\n{table(rows)}\n\n{table(found)}")
    (arguments.out / "rows.json").write_text(json.dumps({"models": rows, "places": found}))


if __name__ == "__main__":
    main()
