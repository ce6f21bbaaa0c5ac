"""Does the guarantee hold per volume? Conformal risk control against the voxel-wise recipe, over 1,000 random splits.

    python benchmarks/conformal.py --models runs/two_photon

Voxel-wise: one threshold such that the share alpha of all vessel voxels of all calibration volumes lies below it; this is what
split conformal prediction does with voxels as rows. Ours: minivess.uncertainty.conformal, the volume being the unit. Both guarantee
that at most alpha of the vessel is lost; this is checked on the test volumes. Then memory and time beside MAPIE, each in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from held_out import HeldOut, add_arguments, real, synthetic, table

from minivess.uncertainty.conformal import LEVELS, Curve, control_risk, length_curve, voxel_curve

SPLITS = 1000
CALIBRATE = 20


def pieces(volumes: Sequence[HeldOut]) -> list[HeldOut]:
    """Divide real stacks into quarters in plane and halves in depth, since five animals are too few to split 1,000 times."""
    from minivess.volume import Volume

    parts = []
    for v in volumes:
        x, y, z = (n // 2 for n in v.image.shape)
        for i in range(8):
            box = tuple(slice(n, None) if i >> a & 1 else slice(n) for a, n in enumerate((x, y, z)))
            image = Volume(v.image.array[box], v.image.affine, v.image.unit)
            p = v.prediction
            piece = type(p)(
                image.with_array(p.probability.array[box]), image.with_array(p.uncertainty.array[box]), p.model, p.threshold
            )
            parts.append(HeldOut(f"{v.name}/{i}", f"{v.name}/{i}", image, v.truth[box], piece))
    return parts


def lost(curve: Curve, level: float) -> float:
    return float(curve.losses[np.searchsorted(LEVELS, level, side="right") - 1])


def compare(name: str, volumes: Sequence[HeldOut], alpha: float, loss: str) -> list[dict]:
    probabilities = [v.prediction.probability.array for v in volumes]
    if loss == "voxels":
        curves = [voxel_curve(p, v.truth, v.subject) for p, v in zip(probabilities, volumes, strict=True)]
    else:
        curves = [
            length_curve(p, v.truth, v.subject, spacing_um=v.image.spacing_um)
            for p, v in zip(probabilities, volumes, strict=True)
        ]
    vessel = np.array([v.truth.sum() for v in volumes], float)
    kept = np.stack([[(p > level).mean() for level in LEVELS[::64]] for p in probabilities])
    rng, means, above, worst, kept_share = np.random.default_rng(0), {}, {}, {}, {}
    for _ in range(SPLITS):
        order = rng.permutation(len(volumes))
        calibration, test = order[:CALIBRATE], order[CALIBRATE:]
        pooled = np.average([curves[i].losses for i in calibration], axis=0, weights=vessel[calibration])
        levels = {
            "voxel-wise": float(LEVELS[max(0, np.searchsorted(pooled, alpha, side="right") - 1)]),
            "ours": control_risk([curves[i] for i in calibration], alpha, upper=1.0, loss=loss).lower,
        }
        for way, level in levels.items():
            losses = np.array([lost(curves[i], level) for i in test])
            means.setdefault(way, []).append(losses.mean())
            above.setdefault(way, []).append((losses > alpha).mean())
            worst.setdefault(way, []).append(losses.max())
            kept_share.setdefault(way, []).append(kept[test, int(np.searchsorted(LEVELS[::64], level, side="right")) - 1].mean())
    rows = []
    for way in means:
        low, high = np.percentile(means[way], (5, 95))
        rows.append(
            {
                "volumes": name, "loss": loss, "alpha": alpha, "way": way, "mean lost": float(np.mean(means[way])),
                "5-95 % of splits": f"{low:.3f}..{high:.3f}", "splits above alpha": float((np.array(means[way]) > alpha).mean()),
                "volumes above alpha": float(np.mean(above[way])), "worst volume, mean": float(np.mean(worst[way])),
                "kept as possible vessel": float(np.mean(kept_share[way])),
            }
        )  # fmt: skip
    return rows


def cost(way: str, shape: tuple[int, int, int]) -> dict[str, float]:
    """Measure time and memory of a calibration with one volume; run in a child process."""
    rng = np.random.default_rng(0)
    probability = rng.random(shape, dtype=np.float32)
    truth = rng.random(shape, dtype=np.float32) < 0.05
    if way == "MAPIE":
        from mapie.risk_control import SemanticSegmentationController

        controller = SemanticSegmentationController(lambda x: x, risk="recall", method="crc", target_level=0.9)
    else:
        voxel_curve(probability[:8, :8, :8], truth[:8, :8, :8] | True, "warm")

    def calibrate() -> int:
        if way == "MAPIE":
            controller.compute_risks(probability.reshape(1, 1, shape[0], -1), truth.reshape(1, 1, shape[0], -1).astype(int))
            return 100 * 8
        return voxel_curve(probability, truth, "a").losses.nbytes

    start = time.perf_counter()
    kept = calibrate()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    calibrate()
    return {"seconds": seconds, "MiB": tracemalloc.get_traced_memory()[1] / 2**20, "kept bytes": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--cost", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cost:
        way, *shape = arguments.cost.split(",")
        print(json.dumps(cost(way, tuple(int(n) for n in shape))))
        return
    rows = []
    made, cut = synthetic(arguments.models), pieces(real(arguments.models, arguments.data))
    for name, volumes in ((f"{len(made)} synthetic volumes", made), (f"{len(cut)} pieces of 5 real stacks", cut)):
        for loss in ("voxels", "length"):
            for alpha in (0.1, 0.05):
                rows += compare(name, volumes, alpha, loss)
    print(f"{SPLITS} splits, {CALIBRATE} volumes to calibrate, the others to test\n\n{table(rows)}\n")
    costs = []
    for way, shape in (("MAPIE", (256, 256, 16)), ("ours", (256, 256, 16)), ("ours", (512, 512, 64))):
        named = ",".join([way, *map(str, shape)])
        child = subprocess.run(
            [sys.executable, __file__, "--models", ".", "--cost", named], capture_output=True, text=True, check=True
        )
        costs.append({"way": way, "volume": "x".join(map(str, shape)), **json.loads(child.stdout.splitlines()[-1])})
    print(table(costs))
    ratio = {k: costs[0][k] / max(costs[1][k], 1e-9) for k in ("seconds", "MiB")}
    print(f"\nMAPIE / ours on 256x256x16: {ratio['seconds']:.0f} times the time, {ratio['MiB']:.0f} times the memory")


if __name__ == "__main__":
    main()
