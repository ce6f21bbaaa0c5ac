"""How fast does an annotator find the errors of a prediction? Orders of review beside random and an oracle, in one run.

    python benchmarks/review_curve.py --models runs/two_photon

A significant error: missed or false voxels more than 2 um from the other mask, 26-connected, at least 250 um3; it is found when half
of its voxels have been reviewed. Two oracles: `by voxels` reviews first where most voxels are significantly wrong (the definition
that the normalised gain is measured by), `by errors` where most errors end, small ones first: a stricter bound.

Fixed unit: blocks of 8 x 8 x 2 voxels, normalised gain over the first 20 % of the volume. Places: the regions that minivess.review
proposes, errors found in the first 100 decisions and how much of the volume that was. `ours` ranks again after 50, 70, 98, 137, ...
answers (regions: every 10) from the answers so far in this volume, and starts with those of the other animals' volumes. An error that
is found is marked completely, so its size is known. The other volumes' answers are the first 3,000 blocks in the order of the rule.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minivess.process_setup import prepare_process

prepare_process()

import cc3d
import edt
import numpy as np
from held_out import HeldOut, add_arguments, interval, real, synthetic, table
from scipy import ndimage
from scipy.sparse import csr_matrix

from minivess.models import Prediction
from minivess.review.blocks import BlockFeatures, compute_block_features
from minivess.review.ranker import BlockSamples, score_blocks, score_by_rule
from minivess.review.region_selection import select_boxes

BLOCK_SHAPE = (8, 8, 2)
UPDATES = [int(50 * 1.4**step) for step in range(18)]
UPTO = 0.2
OTHERS = 3000
DECISIONS = 100
WRONG = 0.1


def significant_errors(truth: np.ndarray, mask: np.ndarray, spacing_um: tuple[float, float, float]) -> tuple[np.ndarray, int]:
    """Label the significant errors 1, 2, ...; other voxels are 0."""
    to_mask, to_truth = (edt.edt(np.ascontiguousarray(~m), anisotropy=spacing_um, black_border=False) for m in (mask, truth))
    wrong = (truth & (to_mask > 2)) | (mask & (to_truth > 2))
    components = cc3d.connected_components(wrong, connectivity=26)
    size = np.bincount(components.ravel())
    keep = size * np.prod(spacing_um) >= 250
    keep[0] = False
    numbers = np.where(keep, keep.cumsum(), 0)
    return numbers[components], int(keep.sum())


@dataclass(frozen=True, eq=False)
class Task:
    """A volume divided into units (blocks), and the number of voxels of each error in each unit."""

    name: str
    subject: str
    blocks: BlockFeatures
    inside: csr_matrix  # (units, errors), voxels
    spacing_um: tuple[float, float, float]
    maps: dict[str, np.ndarray]  # scores of the units, by baseline

    @property
    def share(self) -> np.ndarray:
        """Errors in each unit; an error in several units counts in each by its share."""
        return np.asarray(self.inside.multiply(1 / np.asarray(self.inside.sum(0))).sum(1)).ravel()

    def recall(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of the volume reviewed, and of the errors found, after each unit."""
        reviewed = self.blocks.voxels[order].cumsum() / self.blocks.voxels.sum()
        hits = self.inside[order].tocsc()
        half = np.asarray(self.inside.sum(0)).ravel() / 2
        when = np.full(hits.shape[1], len(order))
        for error in range(hits.shape[1]):
            rows, voxels = (
                hits.indices[hits.indptr[error] : hits.indptr[error + 1]],
                hits.data[hits.indptr[error] : hits.indptr[error + 1]],
            )
            along = np.argsort(rows)
            reached = np.flatnonzero(voxels[along].cumsum() >= half[error] - 1e-9)
            if reached.size:
                when[error] = rows[along[reached[0]]]
        return reviewed, np.bincount(when, minlength=len(order) + 1)[: len(order)].cumsum() / hits.shape[1]

    def area(self, order: np.ndarray) -> float:
        reviewed, found = self.recall(order)
        grid = np.linspace(0, UPTO, 401)
        return float(np.interp(grid, np.r_[0, reviewed], np.r_[0, found]).mean())


def unit_numbers(shape: tuple[int, ...], blocks: BlockFeatures) -> np.ndarray:
    x, y, z = (np.arange(n) // e for n, e in zip(shape, blocks.block_shape, strict=True))
    return (x[:, None, None] * blocks.grid[1] + y[None, :, None]) * blocks.grid[2] + z[None, None, :]


def task_from(volume: HeldOut, block_shape: tuple[int, int, int] | None, ranked_by: Prediction | None = None) -> Task:
    """Divide a volume into units; ``ranked_by`` ranks them when it is not the prediction whose errors are searched."""
    ranked_by = ranked_by or volume.prediction
    probability, mask = ranked_by.probability.array, volume.prediction.mask.array > 0
    spacing_um = volume.image.spacing_um
    blocks = compute_block_features(probability, mask, volume.contrast, spacing_um, block_shape=block_shape)
    errors, count = significant_errors(volume.truth, mask, spacing_um)
    units = unit_numbers(probability.shape, blocks)
    where = errors > 0
    inside = csr_matrix((np.ones(where.sum()), (units[where], errors[where] - 1)), (len(blocks.voxels), count))
    inside.sum_duplicates()
    entropy = ranked_by.uncertainty.array
    number = len(blocks.voxels)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(units.ravel(), values.ravel(), number) / blocks.voxels

    maps = {
        "random": np.random.default_rng(0).random(number),
        "max entropy": ndimage.maximum(entropy, units, np.arange(number)),
        "mean entropy": mean(entropy),
        "expected error": mean(np.where(probability >= volume.prediction.threshold, 1 - probability, probability)),
        "VessQC": vessqc(entropy, units, number),
        "ours, rule alone": score_by_rule(blocks) / blocks.voxels,
        "oracle by voxels": np.asarray(inside.sum(1)).ravel(),
    }
    return Task(volume.name, volume.subject, blocks, inside, spacing_um, maps)


def vessqc(entropy: np.ndarray, units: np.ndarray, number: int) -> np.ndarray:
    """Score units as VessQC does: components of equal uncertainty (rounded to 0.001) of at least 50 voxels, by uncertainty, then size."""
    rounded = np.round(entropy / np.log(2), 3)
    components = cc3d.connected_components((rounded * 1000).astype(np.uint16), connectivity=26)
    size = np.bincount(components.ravel())
    value = np.where((size >= 50)[components] & (rounded > 0), rounded + 1e-9 * size[components], 0)
    return ndimage.maximum(value, units, np.arange(number))


def order_by(score: np.ndarray) -> np.ndarray:
    return np.argsort(-score, kind="stable")


def samples_from(task: Task, units: np.ndarray, answer_index: np.ndarray, errors: np.ndarray) -> BlockSamples:
    return BlockSamples(task.blocks.features[units], errors, answer_index, np.zeros(len(units), np.int64))


def other_samples(task: Task, tasks: Sequence[Task]) -> list[BlockSamples]:
    """Collect the answers in the volumes of other animals."""
    samples = []
    for other in tasks:
        if other.subject != task.subject:
            first = order_by(score_by_rule(other.blocks))[:OTHERS]
            samples.append(samples_from(other, first, np.arange(len(first)), other.share[first]))
    return samples


def review_units(task: Task, others: list[BlockSamples], wrong: float = 0.0) -> np.ndarray:
    """Review unit by unit, ranking again after each batch of answers."""
    rng, truth = np.random.default_rng(0), task.share
    answers = np.where(rng.random(len(truth)) < wrong, np.where(truth > 0, 0, truth[truth > 0].mean()), truth)
    done, order = np.zeros(len(truth), bool), np.zeros(0, np.int64)
    score, _ = score_blocks(task.blocks, BlockSamples.concatenate(None, others) if others else None)
    for stop in UPDATES:
        take = min(stop, int(len(truth) * (UPTO + 0.02))) - len(order)
        if take <= 0:
            break
        left = np.flatnonzero(~done)
        order = np.r_[order, left[order_by(score[left])[:take]]]
        done[order] = True
        own = samples_from(task, order, np.arange(len(order)), answers[order])
        score, _ = score_blocks(task.blocks, BlockSamples.concatenate(own, others))
    missed = order[(answers[order] == 0) & (truth[order] > 0)]  # reviewed and overlooked: not found
    left = np.flatnonzero(~done)
    return (
        np.r_[order[~np.isin(order, missed)], left[order_by(score[left])], missed]
        if wrong
        else np.r_[order, left[order_by(score[left])]]
    )


def review_regions(task: Task, score: Callable[[BlockSamples | None], np.ndarray], *, every: int = 10) -> tuple[float, float]:
    """Review region by region; return the share of errors found and of the volume reviewed after all decisions."""
    seen = np.zeros(task.blocks.grid, bool)
    order: list[np.ndarray] = []
    answer_index: list[np.ndarray] = []
    truth = task.share
    while len(order) < DECISIONS:
        units = np.concatenate(order) if order else None
        own = None if units is None else samples_from(task, units, np.concatenate(answer_index), truth[units])
        boxes = select_boxes(task.blocks, score(own), task.spacing_um, count=min(every, DECISIONS - len(order)), reviewed=seen)
        if not boxes:
            break
        for box, _ in boxes:
            new = np.zeros(task.blocks.grid, bool)
            new[box.slices] = True
            units = np.flatnonzero(new & ~seen)
            seen |= new
            answer_index.append(np.full(len(units), len(order)))
            order.append(units)
    reviewed, found = task.recall(np.concatenate(order))
    return float(found[-1]), float(reviewed[-1])


def fixed_unit(tasks: Sequence[Task]) -> list[dict]:
    rows = []
    for task in tasks:
        start = time.perf_counter()
        others = other_samples(task, tasks)
        orders = {name: order_by(score) for name, score in task.maps.items()}
        orders["ours"] = review_units(task, others)
        orders["ours, no other volume"] = review_units(task, [])
        orders["ours, one answer in ten wrong"] = review_units(task, others, WRONG)
        orders["oracle by errors"] = order_by(task.share)
        areas = {name: task.area(order) for name, order in orders.items()}
        base, top = areas["random"], areas["oracle by voxels"]
        for name, order in orders.items():
            reviewed, found = task.recall(order)
            at = {f"at {s:.0%}": float(np.interp(s, reviewed, found)) for s in (0.01, 0.05, 0.2)}
            strict = (areas[name] - base) / (areas["oracle by errors"] - base)
            rows.append(
                {"volume": task.name, "order": name, **at, "gain": (areas[name] - base) / (top - base), "strict gain": strict}
            )
        print(f"{task.name}: {task.inside.shape[1]} errors, {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def scorers(task: Task, others: list[BlockSamples]) -> dict[str, Callable[[BlockSamples | None], np.ndarray]]:
    """Return, by the name of each order, the function that scores the blocks from the answers so far."""

    def fixed(values: np.ndarray) -> Callable[[BlockSamples | None], np.ndarray]:
        return lambda _: values * task.blocks.voxels

    functions = {name: fixed(values) for name, values in task.maps.items() if name != "oracle by voxels"}
    functions["ours"] = lambda own: score_blocks(task.blocks, BlockSamples.concatenate(own, others))[0]
    functions["oracle by errors"] = lambda _: task.share
    return functions


def by_regions(tasks: Sequence[Task]) -> list[dict]:
    rows = []
    for task in tasks:
        for name, score in scorers(task, other_samples(task, tasks)).items():
            found, reviewed = review_regions(task, score)
            rows.append({"volume": task.name, "order": name, "errors found": found, "volume looked at": reviewed})
    return rows


def summary(rows: list[dict], columns: Sequence[str]) -> list[dict]:
    means = []
    for name in dict.fromkeys(row["order"] for row in rows):
        of = [row for row in rows if row["order"] == name]
        values = {column: float(np.mean([row[column] for row in of])) for column in columns}
        low, high = interval(np.array([row[columns[-1]] for row in of]))
        means.append({"order": name, **values, f"{columns[-1]}, 95 %": f"{low:.2f}..{high:.2f}"})
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--synthetic", type=int, default=8, help="how many synthetic volumes")
    parser.add_argument("--json", dest="out", help="write all rows there")
    arguments = parser.parse_args()
    everything = {
        "real stacks": real(arguments.models, arguments.data),
        "synthetic volumes": synthetic(arguments.models, arguments.synthetic),
    }
    rows = {}
    for name, volumes in everything.items():
        units = fixed_unit([task for v in volumes if (task := task_from(v, BLOCK_SHAPE)).inside.shape[1]])
        places = by_regions([task for v in volumes if (task := task_from(v, None)).inside.shape[1]])
        rows[name] = {"units": units, "places": places}
        print(
            f"\n{len(volumes)} {name}, fixed unit 8 x 8 x 2 voxels\n\n{table(summary(units, ('at 1%', 'at 5%', 'at 20%', 'strict gain', 'gain')))}"
        )
        print(
            f"\n{len(volumes)} {name}, the first {DECISIONS} decisions on places\n\n{table(summary(places, ('volume looked at', 'errors found')))}\n"
        )
    print(table([row for row in rows["real stacks"]["units"] if row["order"] in ("mean entropy", "ours, rule alone", "ours")]))
    if arguments.out:
        with open(arguments.out, "w") as stream:
            json.dump(rows, stream, indent=1)


if __name__ == "__main__":
    main()
