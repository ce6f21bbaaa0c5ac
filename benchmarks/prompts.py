"""How many decisions until a prediction is as good as it should be? Prompts beside painting balls and re-predicting, in one run.

    python benchmarks/prompts.py --models runs/two_photon

A simulated annotator, who knows the truth, corrects what clDice counts, the longest first: pieces of the truth's centre-line that are
not in the mask, and pieces of the mask's centre-line that are outside the truth; until clDice is 0.95.

- prompts: connect where both ends of a missed piece are near the mask, otherwise path; remove a false piece, otherwise cut it;
  a step that does not help is undone and the piece painted with a ball, each try and each undo a decision; a piece under 10 um gets a
  ball at once.
- balls: one ball in the middle of the piece, as large as the vessel (or the background) is at this point: a perfect brush.
- re-predicting: the annotator marks the piece's neighbourhood as it should be (a ball of 12 um), the network takes ten steps on that
  alone and predicts again.
- oracle: a decision corrects a piece with all voxels that belong to it.

Seconds: 4 s to see it, 1.5 s a click, and the computing time. Cut-outs of 192 x 192 voxels of the real stacks, by models that
were not trained on the animal, and whole synthetic volumes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import cc3d
import edt
import numpy as np
import torch
from held_out import HeldOut, add_arguments, real, synthetic, table
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from minivess.errors import InputError
from minivess.metrics import centreline_from_mask, cldice, dsc
from minivess.models import BundleSegmenter, load_bundle
from minivess.models.normalise import Scaling, fit_scaling
from minivess.review.edits import Edits
from minivess.review.prompts import Point, PromptContext
from minivess.review.tools import TOOLS, run_tool
from minivess.train.loss import VesselLoss
from minivess.volume import Volume

AIM, MOST = 0.95, 100
MOST_PREDICTIONS, STEPS, PATCH = 15, 10, (64, 64, 8)
LOOK_S, CLICK_S, CROP, MARK_UM, SHORT_UM = 4.0, 1.5, 192, 12.0, 10.0


@dataclass(eq=False)
class Work:
    """A volume that a simulated annotator corrects."""

    name: str
    truth: np.ndarray
    probability: np.ndarray
    image: np.ndarray
    scaling: Scaling
    spacing_um: tuple[float, float, float]
    edits: Edits
    segmenter: Callable[[], BundleSegmenter]
    given_up: set[bytes] = field(default_factory=set)

    def errors(self) -> list[np.ndarray]:
        """Return the pieces of centre-line (points, 3) that clDice counts as wrong, the longest first; each missed or false."""
        wrong = []
        for mask, other in ((self.truth, self.edits.mask), (self.edits.mask, self.truth)):
            pieces = cc3d.connected_components(centreline_from_mask(mask) & ~other, connectivity=26)
            points = np.argwhere(pieces)
            owner = pieces[tuple(points.T)]
            wrong += [points[owner == n] for n in np.unique(owner)]
        return sorted((p for p in wrong if p.tobytes() not in self.given_up), key=lambda points: -len(points))

    def context(self) -> PromptContext:
        return PromptContext(self.edits.mask, self.probability, self.image, self.scaling, self.spacing_um)

    def missed(self, voxels: np.ndarray) -> bool:
        return bool(self.truth[tuple(voxels[0])])

    def ball(self, at: np.ndarray, radius_um: float) -> tuple[np.ndarray, Point]:
        spacing = np.asarray(self.spacing_um)
        reach = np.ceil(radius_um / spacing).astype(int)
        low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, self.truth.shape)
        offsets = np.moveaxis(np.indices(high - low), 0, -1) + low - at
        return np.linalg.norm(offsets * spacing, axis=-1) <= radius_um, tuple(int(v) for v in low)


def work_from(volume: HeldOut, bundle: Path) -> Work:
    x, y = (max(0, (n - CROP) // 2) for n in volume.truth.shape[:2])
    window = (slice(x, x + CROP), slice(y, y + CROP))
    image = np.ascontiguousarray(volume.image.array[window])
    probability = volume.prediction.probability.array[window]
    mask = probability >= volume.prediction.threshold
    scaling = fit_scaling(image, "two_photon")
    return Work(
        volume.name, volume.truth[window], probability, image, scaling, volume.image.spacing_um, Edits(mask), lambda: load_bundle(bundle)
    )  # fmt: skip


def paint(work: Work, points: np.ndarray) -> None:
    """Paint a ball in the middle of a piece, as large as the truth allows."""
    missed = work.missed(points)
    same = work.truth if missed else ~work.truth
    depth = edt.edt(np.ascontiguousarray(same), anisotropy=work.spacing_um, black_border=False)
    at = middle_of(work, points)
    ball, low = work.ball(at, min(0.999 * float(depth[tuple(at)]), MARK_UM))
    if work.edits.apply(ball, low, "add" if missed else "remove", "ball", by_hand=True) is None:
        work.given_up.add(points.tobytes())


def middle_of(work: Work, points: np.ndarray) -> np.ndarray:
    return points[int(np.linalg.norm((points - points.mean(0)) * work.spacing_um, axis=1).argmin())]


def ends_of(work: Work, points: np.ndarray) -> list[Point]:
    """Return the two points of a piece that are farthest apart."""
    some = points[:: max(1, len(points) // 400)]
    apart = cdist(some * work.spacing_um, some * work.spacing_um)
    return [as_point(some[n]) for n in np.unravel_index(int(apart.argmax()), apart.shape)]


def as_point(values: np.ndarray) -> Point:
    x, y, z = (int(v) for v in values)
    return x, y, z


def near_mask(work: Work, point: Point) -> bool:
    ball, low = work.ball(np.asarray(point), 8.0)
    window = tuple(slice(a, a + n) for a, n in zip(low, ball.shape, strict=True))
    return bool((work.edits.mask[window] & ball).any())


def by_prompts(work: Work, points: np.ndarray) -> tuple[int, int]:
    """Correct a piece with the prompts, a short one with a ball; return decisions and clicks."""
    if np.ptp(points * work.spacing_um, axis=0).max() < SHORT_UM:
        return by_balls(work, points)
    if work.missed(points):
        ends = ends_of(work, points)
        tries = [("connect" if all(near_mask(work, end) for end in ends) else "path", ends)]
    else:
        tries = [(tool, [as_point(middle_of(work, points))]) for tool in ("remove", "cut")]
    decisions = clicks = 0
    before = cldice(work.truth, work.edits.mask)
    for tool, at in tries:
        decisions, clicks = decisions + 1, clicks + len(at)
        try:
            change = run_tool(tool, work.context(), at)
        except InputError:
            continue
        if work.edits.apply(change.voxels, change.start, TOOLS[tool].mode, tool) is None:
            continue
        if cldice(work.truth, work.edits.mask) > before:
            return decisions, clicks
        work.edits.undo()
        decisions += 1  # the annotator sees it and undoes it
    paint(work, points)
    return decisions + 1, clicks + 1


def by_balls(work: Work, points: np.ndarray) -> tuple[int, int]:
    paint(work, points)
    return 1, 1


def by_oracle(work: Work, points: np.ndarray) -> tuple[int, int]:
    """Correct a piece with the voxels that are nearer to it than to the rest of its centre-line."""
    missed = work.missed(points)
    mask = work.truth if missed else work.edits.mask
    line = np.argwhere(centreline_from_mask(mask))
    inside = np.argwhere(mask)
    nearest = cKDTree(line * work.spacing_um).query(inside * work.spacing_um)[1]
    of_piece = {p.tobytes() for p in points}
    chosen = inside[np.array([line[n].tobytes() in of_piece for n in nearest])]
    change = np.zeros(mask.shape, bool)
    change[tuple(chosen.T)] = True
    change &= work.truth if missed else ~work.truth
    if work.edits.apply(change, (0, 0, 0), "add" if missed else "remove", "oracle") is None:
        work.given_up.add(points.tobytes())
    return 1, 1


class RePredicting:
    """Train the network with the marks and predict the whole volume again."""

    def __init__(self, work: Work) -> None:
        self.segmenter = work.segmenter()
        self.network = self.segmenter._network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=2e-4)
        self.contrast = work.scaling.apply(work.image)
        self.marked = np.full(work.truth.shape, -1.0, np.float32)

    def __call__(self, work: Work, voxels: np.ndarray) -> tuple[int, int]:
        at = middle_of(work, voxels)
        ball, low = work.ball(at, MARK_UM)
        window = tuple(slice(a, a + n) for a, n in zip(low, ball.shape, strict=True))
        self.marked[window][ball] = work.truth[window][ball]
        start = [int(np.clip(a - n // 2, 0, max(0, s - n))) for a, n, s in zip(at, PATCH, work.truth.shape, strict=True)]
        patch = tuple(slice(a, a + n) for a, n in zip(start, PATCH, strict=True))
        image, target = (torch.from_numpy(values[patch].copy())[None, None] for values in (self.contrast, self.marked))
        loss = VesselLoss(0.0)
        self.network.train()
        for module in self.network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        for _ in range(STEPS):
            self.optimizer.zero_grad()
            output = self.network(image)
            loss(output[0] if isinstance(output, list | tuple) else output, target).backward()
            self.optimizer.step()
        self.network.eval()
        volume = Volume(work.image, np.diag([*work.spacing_um, 1.0]), "um")
        work.edits = Edits(self.segmenter.predict(volume).mask.array > 0)
        return 1, 1


def run(work: Work, way: Callable[[Work, np.ndarray], tuple[int, int]], most: int) -> dict:
    decisions, clicks, machine_s = 0, 0, 0.0
    path = [(0, cldice(work.truth, work.edits.mask))]
    while path[-1][1] < AIM and decisions < most:
        errors = work.errors()
        if not errors:
            break
        start = time.perf_counter()
        more = way(work, errors[0])
        machine_s += time.perf_counter() - start
        decisions, clicks = decisions + more[0], clicks + more[1]
        path.append((decisions, cldice(work.truth, work.edits.mask)))
    at = {f"after {n}": next((score for d, score in reversed(path) if d <= n), 0.0) for n in (0, 20, 50, 100)}
    seconds = decisions * LOOK_S + clicks * CLICK_S + machine_s
    reached = path[-1][1] >= AIM
    return {
        **at,
        "last": path[-1][1],
        "Dice": dsc(work.truth, work.edits.mask),
        "reached": reached,
        "decisions": decisions,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--synthetic", type=int, default=4, help="how many synthetic volumes")
    parser.add_argument("--json", dest="out", type=Path, help="write all rows there")
    arguments = parser.parse_args()
    kinds = {"real": real(arguments.models, arguments.data), "synthetic": synthetic(arguments.models, arguments.synthetic)}
    rows = []
    for kind, volumes in kinds.items():
        for volume in volumes:
            bundle = arguments.models / (volume.subject if kind == "real" else "synthetic")
            ways = {"prompts": by_prompts, "balls": by_balls, "re-predicting": None, "oracle": by_oracle}
            for name, way in ways.items():
                work = work_from(volume, bundle)
                most = MOST if way else MOST_PREDICTIONS
                row = run(work, way or RePredicting(work), most)
                rows.append({"kind": kind, "volume": volume.name, "way": name, **row})
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    means = []
    for kind in kinds:
        for name in dict.fromkeys(row["way"] for row in rows):
            of = [row for row in rows if (row["kind"], row["way"]) == (kind, name)]
            mean = {
                key: float(np.mean([row[key] for row in of]))
                for key in ("after 0", "after 20", "after 50", "after 100", "last", "decisions", "seconds")
            }
            means.append({"kind": kind, "way": name, "reached": f"{sum(row['reached'] for row in of)} of {len(of)}", **mean})
    print(f"\n{table(rows)}\n\n{table(means)}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1, default=bool))


if __name__ == "__main__":
    main()
