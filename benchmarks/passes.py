"""Does a queue need more than one pass of the network? One pass, which is the default, beside five, in one run.

    python benchmarks/passes.py --models runs/two_photon

The errors are those of the one pass, as in review_curve.py: fixed unit of 8 x 8 x 2 voxels, normalised gain over the first 20 %
of the volume. `five mirrored passes`: mean of the volume as it is and four mirrored ones (test-time augmentation); mutual information
needs more than one pass. Paired difference to one pass with the 95 % bootstrap interval over volumes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from held_out import HeldOut, add_arguments, interval, real, synthetic, table
from review_curve import BLOCK_SHAPE, Task, order_by, other_samples, review_units, task_from

from minivess.models import Prediction, load_bundle
from minivess.models.segmenter import Segmenter
from minivess.review.blocks import sum_blocks
from minivess.uncertainty import combine
from minivess.volume import Volume

PASSES = 5
#: Axes that are mirrored together, in order of use: none, x, y, z, xy, xz, yz, xyz.
FLIPS = [axes for count in range(4) for axes in itertools.combinations(range(3), count)]
MAPS = ("max entropy", "mean entropy", "expected error", "ours, rule alone")


def predict_tta(segmenter: Segmenter, volume: Volume, passes: int) -> Iterator[np.ndarray]:
    """Yield the probability of mirrored views, mirrored back; the first view is the unchanged volume."""
    for axes in FLIPS[:passes]:
        view = volume.with_array(np.ascontiguousarray(np.flip(volume.array, axes)))
        yield np.ascontiguousarray(np.flip(segmenter.predict(view).probability.array, axes))


def five_passes(volume: HeldOut, models: Path) -> tuple[Prediction, np.ndarray, float]:
    """Return the mean of five mirrored passes, their mutual information, and their time relative to one pass."""
    segmenter = load_bundle(models / (volume.subject if (models / volume.subject).is_dir() else "synthetic"))
    seconds = [time.perf_counter()]
    for count in (1, PASSES):
        combined = combine(predict_tta(segmenter, volume.image, count))
        seconds.append(time.perf_counter())
    mean = Prediction(
        volume.image.with_array(combined.probability),
        volume.image.with_array(combined.entropy),
        volume.prediction.model,
        volume.prediction.threshold,
    )
    one, five = np.diff(seconds)
    return mean, combined.mutual_information, float(five / one)


def gains(task: Task, others: list, extra: dict[str, np.ndarray]) -> dict[str, float]:
    """Compute the gain of each order; the learned one ranks again after each batch of answers."""
    orders = {name: order_by(score) for name, score in ({name: task.maps[name] for name in MAPS} | extra).items()}
    orders["ours"] = review_units(task, others)
    base, top = task.area(order_by(task.maps["random"])), task.area(order_by(task.maps["oracle by voxels"]))
    return {name: (task.area(order) - base) / (top - base) for name, order in orders.items()}


def compare(volumes: list[HeldOut], models: Path) -> list[dict]:
    volumes = [volume for volume in volumes if task_from(volume, BLOCK_SHAPE).inside.shape[1]]
    predicted = {volume.name: five_passes(volume, models) for volume in volumes}
    tasks = {
        "one pass": [task_from(volume, BLOCK_SHAPE) for volume in volumes],
        "five mirrored passes": [task_from(volume, BLOCK_SHAPE, predicted[volume.name][0]) for volume in volumes],
    }
    rows = []
    for way, all_tasks in tasks.items():
        for number, task in enumerate(all_tasks):
            extra = {}
            if way != "one pass":
                information = sum_blocks(predicted[volumes[number].name][1], task.blocks.block_shape)
                extra["mutual information"] = information.ravel() / task.blocks.voxels
            by_order = gains(task, other_samples(task, all_tasks), extra)
            rows += [{"volume": task.name, "passes": way, "order": name, "gain": gain} for name, gain in by_order.items()]
            print(way, task.name, {name: round(gain, 3) for name, gain in by_order.items()}, flush=True)
    cost = float(np.mean([times for _, _, times in predicted.values()]))
    print(f"five passes take {cost:.1f} times as long as one")
    return rows


def summary(rows: list[dict]) -> list[dict]:
    def of(way: str, order: str) -> np.ndarray:
        return np.array([row["gain"] for row in rows if row["passes"] == way and row["order"] == order])

    means = []
    for name in dict.fromkeys(row["order"] for row in rows):
        one, five = of("one pass", name), of("five mirrored passes", name)
        row = {"order": name, "one pass": float(one.mean()) if len(one) else "", "five": float(five.mean())}
        low, high = interval(five - one) if len(one) else (np.nan, np.nan)
        means.append(row | {"five less one": float((five - one).mean()) if len(one) else "", "95 %": f"{low:+.3f}..{high:+.3f}"})
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--synthetic", type=int, default=8, help="how many synthetic volumes")
    parser.add_argument("--json", dest="out", type=Path, help="write all rows there")
    arguments = parser.parse_args()
    rows = {}
    for name, volumes in {
        "real stacks": real(arguments.models, arguments.data),
        "synthetic volumes": synthetic(arguments.models, arguments.synthetic),
    }.items():
        rows[name] = compare(volumes, arguments.models)
        print(f"\n{len(volumes)} {name}\n\n{table(summary(rows[name]))}\n", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
