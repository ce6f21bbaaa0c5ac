"""Which places of a study? Ways to choose them over all its images, compared by minutes of annotation.

    python benchmarks/study_places.py --model runs/two_photon/synthetic --out runs/study_places [--minutes 10 30] [--seed 0]

The study holds the real stacks of three animals; the fourth animal is held out. The model has seen synthetic stacks only. An annotator
answers places with the truth until the minutes are over: 4 s to look at one, 8 s for each piece of at least 8 voxels that is wrong
there. The model is trained on what was answered, as the label app does, and scored on the voxels of the study that nobody has looked
at and on the animal held out (central 256 x 256 pixels). Ways: `errors`, the places with most expected errors of all images, as the
queue does when no image is chosen; `errors a minute`, divided by the expected time; `image by image`, the images with most expected
errors first, each to the end of its hundred places; `random, foreground-aware`, boxes of the same sizes, two thirds of them about
a voxel that the model calls vessel.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from held_out import interval
from learning import EDGE, central, scores_of, voxels_of, write_case
from scipy import ndimage
from two_photon import cases, load

from minivess.datasets import TrainingCase
from minivess.models import load_bundle, weights_path
from minivess.models.normalise import fit_scaling
from minivess.review.analysis import analyse_prediction
from minivess.review.proposal import propose_regions
from minivess.review.region_selection import CORRECT_S, LOOK_S
from minivess.store import Region
from minivess.train import copy_bundle, publish, rehearsal_cases, train_bundle
from minivess.train.rehearsal import balanced
from minivess.train.retrain import continued_settings
from minivess.volume import Box, Volume

WAYS = ("errors", "errors a minute", "image by image", "random, foreground-aware")
PLACES, PIECE = 100, 8  # of each image, as in the label app; voxels of a wrong piece that is corrected


@dataclass(eq=False)
class Image:
    """A stack of the study, what the model predicts for it, and its queue."""

    case: TrainingCase
    image: Volume
    truth: np.ndarray
    mask: np.ndarray
    regions: list[Region]

    def seconds(self, box: Box) -> float:
        """Time to answer a place: what is wrong there is corrected piece by piece."""
        labels, count = ndimage.label(self.mask[box.slices] ^ self.truth[box.slices], np.ones((3, 3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        return LOOK_S + CORRECT_S * float((sizes >= PIECE).sum())


def study_of(stacks: list[TrainingCase], model_folder: Path) -> list[Image]:
    model, study = load_bundle(model_folder), []
    for case in stacks:
        image, label = load(case)
        prediction = model.predict(image)
        contrast = fit_scaling(image.array, model.capabilities.modality).apply(image.array)
        mask = prediction.mask.array > 0
        analysis = analyse_prediction(prediction.probability, mask, contrast, threshold=prediction.threshold)
        study.append(Image(case, image, label.array > 0, mask, list(propose_regions(analysis, count=PLACES).regions)))
    return study


def ordered(study: list[Image], way: str, rng: np.random.Generator) -> Iterator[tuple[Image, Box]]:
    """Yield places in the order in which they are answered."""
    places = [(image, region) for image in study for region in image.regions]
    if way == "errors":
        places.sort(key=lambda pair: -pair[1].expected_errors)
    elif way == "errors a minute":
        places.sort(key=lambda pair: -pair[1].expected_errors / pair[1].cost_s)
    elif way == "image by image":
        total = {id(image): sum(region.expected_errors for region in image.regions) for image in study}
        places.sort(key=lambda pair: (-total[id(pair[0])], -pair[1].expected_errors))
    else:
        while True:
            image, region = places[rng.integers(len(places))]
            size = np.array(region.box.high) - region.box.low
            vessel = np.argwhere(image.mask)
            shape = np.array(image.image.shape)
            centre = vessel[rng.integers(len(vessel))] if rng.random() < 2 / 3 else rng.integers(shape)
            low = np.clip(centre - size // 2, 0, shape - size)
            yield image, Box.from_corners(low.tolist(), (low + size).tolist())
    yield from ((image, region.box) for image, region in places)


def answered(study: list[Image], way: str, minutes: float, rng: np.random.Generator) -> tuple[dict[int, list[Box]], int, float]:
    """Answer places until the time is over; return the boxes of each image, how many they are, and the seconds."""
    boxes: dict[int, list[Box]] = {index: [] for index in range(len(study))}
    seconds = count = 0.0
    for image, box in ordered(study, way, rng):
        needed = image.seconds(box)
        if seconds + needed > 60 * minutes:
            break
        seconds, count = seconds + needed, count + 1
        boxes[study.index(image)].append(box)
    return boxes, int(count), seconds


def trained(base: Path, study: list[Image], boxes: dict[int, list[Box]], out: Path, seed: int) -> Path:
    learned = [
        write_case(image.case, image.image, image.truth, voxels_of(boxes[index], image.image.shape), out / f"{index}.nii.gz")
        for index, image in enumerate(study)
        if boxes[index]
    ]
    bundle = copy_bundle(base, out / "bundle")
    publish(weights_path(base), bundle)
    settings = {**continued_settings(bundle, "tiny"), "seed": seed}
    together = balanced(learned, rehearsal_cases(bundle, learned, modality="two_photon", folder=out / "rehearsal"))
    return train_bundle(
        bundle, training=together, validation=learned[:1], output=out / "run", preset="tiny", init_weights=weights_path(bundle),
        overrides={**settings, "val_interval": settings["epochs"]},
    ).weights  # fmt: skip


def rows_of(base: Path, everything: list[TrainingCase], held_out: str, minutes: list[float], out: Path, seed: int) -> list[dict]:
    study = study_of([case for case in everything if case.subject != held_out], base)
    others = [case for case in everything if case.subject == held_out]
    rows = []
    for budget in minutes:
        for way in ("before", *WAYS):
            folder = out / f"{held_out}_{budget:g}_{way.replace(' ', '_').replace(',', '')}"
            shutil.rmtree(folder, ignore_errors=True)
            boxes, count, seconds = ({n: [] for n in range(len(study))}, 0, 0.0)
            weights = weights_path(base)
            if way != "before":
                boxes, count, seconds = answered(study, way, budget, np.random.default_rng((seed, 7)))
                folder.mkdir(parents=True)
                weights = trained(base, study, boxes, folder, seed)
            elif rows:
                continue
            model, found = load_bundle(base, weights=weights), []
            for index, image in enumerate(study):
                box = central(image.image.shape)
                found.append(
                    ("rest", scores_of(model, image.image, image.truth, box, ~voxels_of(boxes[index], image.image.shape)))
                )
            for case in others:
                volume, truth = load(case)
                found.append(("held out", scores_of(model, volume, truth.array > 0, central(volume.shape))))
            for where in ("rest", "held out"):
                own = [scores for at, scores in found if at == where]
                mean = {name: float(np.mean([scores[name] for scores in own])) for name in own[0]}
                rows.append({"animal": held_out, "minutes": budget, "way": way, "where": where, "places": count, **mean})
                print(f"{held_out} {budget:g} min {way}: {count} places in {seconds:.0f} s, {where} "
                      f"{mean['Dice']:.3f}/{mean['clDice']:.3f}", flush=True)  # fmt: skip
            shutil.rmtree(folder, ignore_errors=True)
    return rows


def report(rows: list[dict]) -> None:
    """Print the change against `before`, with a bootstrap interval over the animals held out."""
    before = {(row["animal"], row["where"]): row for row in rows if row["way"] == "before"}
    print(
        "| minutes | way | places | rest, Dice | rest, clDice | held out, Dice | held out, clDice |\n|---|---|---|---|---|---|---|"
    )
    for budget, way in dict.fromkeys((row["minutes"], row["way"]) for row in rows if row["way"] != "before"):
        own = [row for row in rows if (row["minutes"], row["way"]) == (budget, way)]
        cells = []
        for where in ("rest", "held out"):
            for score in ("Dice", "clDice"):
                change = np.array([r[score] - before[r["animal"], where][score] for r in own if r["where"] == where])
                low, high = interval(change)
                cells.append(f"{change.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
        places = np.mean([row["places"] for row in own])
        print(f"| {budget:g} | {way} | {places:.0f} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--model", type=Path, required=True, help="bundle that has learned no real stack")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"Scored on the central {EDGE} x {EDGE} pixels.")
    everything, rows = cases(arguments.data), []
    for animal in dict.fromkeys(case.subject for case in everything):
        rows += rows_of(arguments.model, everything, animal, arguments.minutes, arguments.out, arguments.seed)
        (arguments.out / "rows.json").write_text(json.dumps(rows, indent=1))
    report(rows)


if __name__ == "__main__":
    main()
