"""Time, memory and values of our metrics beside MONAI's and the naive SciPy and scikit-image recipe, on the same masks in one run.

    python benchmarks/metrics.py                        # 512 x 512 x 64, then 200 random pairs with odd cases
    python benchmarks/metrics.py --shape 256 256 32

MetricsReloaded is in no package index. Where it can be imported it is measured in the same run; elsewhere its time is printed as recorded
on another machine of this kind (12.2 to 12.9 CPU seconds for Dice, clDice, NSD, HD95 and MASD of a mask with 4.2 % vessel, 2.6 GB).
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable, Iterator

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage
from skimage.morphology import skeletonize

from minivess.metrics import cldice, compare_masks, dsc, surface_distances
from minivess.synth import make_sample

SPACING = (1.0, 1.0, 5.0)
try:
    from MetricsReloaded.metrics.pairwise_measures import BinaryPairwiseMeasures
except ImportError:
    BinaryPairwiseMeasures = None
RECORDED = "MetricsReloaded, recorded elsewhere: 12.2 to 12.9 CPU s, 2.6 GB"


def naive(
    a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float] = SPACING, tolerance: float = 5.0
) -> dict[str, float]:
    tolerance *= 1 + 1e-9  # 3 * 0.92 is more than 2.76 for a computer
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    distances = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    there, back = distances[1][surfaces[0]], distances[0][surfaces[1]]
    thin = [skeletonize(mask, method="lee").astype(bool) for mask in (a, b)]
    recall, precision = ((line & other).sum() / max(1, line.sum()) for line, other in zip(thin, (b, a), strict=True))
    return {
        "dsc": 2 * (a & b).sum() / (a.sum() + b.sum()),
        "cldice": 2 * recall * precision / (recall + precision) if recall + precision > 0 else math.nan,
        "nsd": ((there <= tolerance).sum() + (back <= tolerance).sum()) / (there.size + back.size),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "masd": (there.mean() + back.mean()) / 2,
    }


def monai_surface(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    prediction, truth = (torch.from_numpy(mask)[None, None].float() for mask in (b, a))
    there_and_back = [
        float(compute_average_surface_distance(*pair, include_background=True, spacing=SPACING))
        for pair in ((prediction, truth), (truth, prediction))
    ]
    return {
        "nsd": float(compute_surface_dice(prediction, truth, [5.0], include_background=True, spacing=SPACING)),
        "hd95": float(compute_hausdorff_distance(prediction, truth, include_background=True, percentile=95, spacing=SPACING)),
        "masd": sum(there_and_back) / 2,
    }


def metrics_reloaded(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    names = {"dsc": "dsc", "cldice": "cldice", "nsd": "nsd", "hd_perc": "hd95", "masd": "masd"}
    masks = [mask.astype(np.uint8) for mask in (b, a)]
    arguments = {"nsd": 5.0, "hd_perc": 95}
    found = BinaryPairwiseMeasures(*masks, measures=list(names), pixdim=list(SPACING), dict_args=arguments).to_dict_meas()
    return {names[key]: float(value) for key, value in found.items()}


def ours(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float, float] = SPACING, tolerance: float = 5.0) -> dict[str, float]:
    found = surface_distances(a, b, spacing, tolerance=tolerance)
    return {"dsc": dsc(a, b), "cldice": cldice(a, b), "nsd": found.nsd, "hd95": found.hd95, "masd": found.masd}


def ours_surface(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    found = surface_distances(a, b, SPACING, tolerance=5.0)
    return {"nsd": found.nsd, "hd95": found.hd95, "masd": found.masd}


def best_of(work: Callable[[], dict[str, float]], times: int = 3) -> tuple[float, float, dict[str, float]]:
    """Return wall and CPU seconds of the fastest of some runs, and the result."""
    rows = []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        rows.append((time.perf_counter() - wall, time.process_time() - cpu, result))
    return min(rows, key=lambda row: row[0])


def pair(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a made-up vessel mask, tiled to the shape, and one that misses and adds some."""
    tile = make_sample("capillary", seed=0, shape=(128, 128, 32)).mask.array > 0
    repeats = [-(-n // m) for n, m in zip(shape, tile.shape, strict=True)]
    truth = np.tile(tile, repeats)[tuple(slice(n) for n in shape)]
    noise = np.random.default_rng(0).random(shape)
    edge = ndimage.binary_dilation(truth) & ~truth
    return np.ascontiguousarray(truth), np.ascontiguousarray((truth & (noise > 0.05)) | (edge & (noise > 0.8)))


def odd_pairs(count: int = 200) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, float, float]]]:
    """Yield random pairs with their spacing: shifted, noisy, disjoint, touching, equal, one slice thin, one voxel, stored as 0/255."""
    rng = np.random.default_rng(1)
    for number in range(count):
        shape = rng.integers(4, 40, 3)
        shape[number % 3] = 1 if number % 5 == 0 else shape[number % 3]
        a = ndimage.binary_dilation(rng.random(shape) > 0.99, iterations=int(rng.integers(1, 4)))
        a.flat[rng.integers(a.size)] = True
        kind = number % 6
        if kind == 0:
            b = np.roll(a, int(rng.integers(-2, 3)), axis=number % 3)
        elif kind == 1:
            b = a ^ (rng.random(shape) > 0.995)
        elif kind == 2:  # disjoint
            b = ~ndimage.binary_dilation(a, iterations=2) & (rng.random(shape) > 0.9)
        elif kind == 3:  # touching
            b = ndimage.binary_dilation(a) & ~a
        elif kind == 4:
            b = a.copy()
        else:  # one voxel
            b = np.zeros(shape, bool)
            b.flat[rng.integers(b.size)] = True
        if b.any():
            x, y, z = rng.uniform(0.2, 6.0, 3).round(2)
            yield (a, b.astype(np.uint8) * 255 if number % 7 == 0 else b, (x, y, z))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 64))
    shape = tuple(parser.parse_args().shape)
    a, b = pair(shape)
    print(f"{'x'.join(map(str, shape))}, {100 * a.mean():.1f} % vessel, {torch.get_num_threads()} threads")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    all_ours = best_of(lambda: ours(a, b))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    with_betti = best_of(lambda: compare_masks(a, b, SPACING).to_json())
    surface, peer, simple = (
        best_of(lambda: ours_surface(a, b)),
        best_of(lambda: monai_surface(a, b), 1),
        best_of(lambda: naive(a, b), 1),
    )
    for name, row in (
        ("ours: Dice, clDice, NSD, HD95, MASD", all_ours),
        ("naive SciPy and scikit-image, the same five", simple),
        ("ours: NSD, HD95, MASD", surface),
        ("MONAI: NSD, HD95, MASD", peer),
        ("ours with Betti errors", with_betti),
    ):
        print(f"{name:45} {row[0]:7.2f} s wall {row[1]:7.2f} s CPU")
    print(
        f"ratio naive / ours {simple[0] / all_ours[0]:.1f}, MONAI / ours {peer[0] / surface[0]:.1f} (wall); our peak {memory:.0f} MB more"
    )
    if BinaryPairwiseMeasures is None:
        print(RECORDED)
    else:
        reloaded = best_of(lambda: metrics_reloaded(a, b), 1)
        print(f"{'MetricsReloaded, the same five':45} {reloaded[0]:7.2f} s wall {reloaded[1]:7.2f} s CPU")
        print(f"ratio MetricsReloaded / ours {reloaded[0] / all_ours[0]:.1f} (wall), {reloaded[1] / all_ours[1]:.1f} (CPU)")
        same = {name: abs(reloaded[2][name] - all_ours[2][name]) for name in ("dsc", "nsd", "hd95", "masd")}
        print(
            f"largest difference to MetricsReloaded (Dice, NSD, HD95, MASD) {max(same.values()):.1e}; "
            f"clDice {reloaded[2]['cldice']:.6f}, ours with the same thinning {cldice(a, b, thinning='lee'):.6f}"
        )
    for name in ("nsd", "hd95", "masd"):
        print(f"{name}: ours {surface[2][name]:.6f}, MONAI {peer[2][name]:.6f}, naive {simple[2][name]:.6f}")
    print(f"cldice: ours {all_ours[2]['cldice']:.6f}, naive {simple[2]['cldice']:.6f}")
    worst, count = 0.0, 0
    for count, (first, second, spacing) in enumerate(odd_pairs(), 1):  # noqa: B007 (the last one is the number)
        mine, theirs = ours(first, second, spacing, max(spacing)), naive(first > 0, second > 0, spacing, max(spacing))
        worst = max(worst, *(abs(mine[k] - theirs[k]) for k in ("dsc", "nsd", "hd95", "masd")))
    print(f"{count} random pairs: largest difference to the naive values (Dice, NSD, HD95, MASD) {worst:.1e}")


if __name__ == "__main__":
    main()
