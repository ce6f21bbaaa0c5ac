"""Boxes around vessels of the five real two-photon stacks: LiteMedSAM with its published weights, beside a threshold in the same box.

    python benchmarks/box_prompts.py --out runs/box_prompts [--data ../shared/data/two_photon]

Each box is drawn from the label, two pixels wider than a vessel's section in one slice, as a careful annotator would. What is outside
the box counts for nobody. `again`: a second box at the same place, whose picture the encoder has seen. The threshold is the best of each stack on its normalised input, chosen on the label: a strong baseline
that no annotator has. No model was trained on these stacks here; whether LiteMedSAM's own training saw such data is not published.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from scipy import ndimage
from two_photon import cases, contrast, load

from minivess.metrics import dsc
from minivess.models import BundleSegmenter, load_bundle
from minivess.models.foreign_weights import import_weights, published_weights
from minivess.paths import resource_path
from minivess.train import copy_bundle
from minivess.volume import Box

MARGIN_PX = 2
SMALLEST_PX = 20


def boxes(label: np.ndarray, count: int, seed: int) -> Iterator[Box]:
    """Boxes around sections of vessels, in slices drawn at random; none around the whole slice."""
    rng = np.random.default_rng(seed)
    found = []
    for z in rng.permutation(label.shape[2]):
        pieces, _ = ndimage.label(label[..., z], np.ones((3, 3)))
        sizes = np.bincount(pieces.ravel())
        for number, place in enumerate(ndimage.find_objects(pieces), 1):
            low = [max(side.start - MARGIN_PX, 0) for side in place]
            high = [min(side.stop + MARGIN_PX, n) for side, n in zip(place, label.shape, strict=False)]
            if sizes[number] >= SMALLEST_PX and max(np.subtract(high, low)) <= 128:
                found.append(Box.from_corners([*low, z], [*high, z + 1]))
    yield from (found[i] for i in rng.permutation(len(found))[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/box_prompts"))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--boxes", type=int, default=30, help="of each stack")
    args = parser.parse_args()
    bundle = copy_bundle(resource_path("bundles/litemedsam"), args.out / "litemedsam")
    import_weights(published_weights(bundle), bundle)
    segmenter = load_bundle(bundle)
    assert isinstance(segmenter, BundleSegmenter)
    shutil.rmtree(args.out / "features", ignore_errors=True)
    segmenter.cache_features(args.out / "features")
    rows: list[dict[str, Any]] = []
    print(
        "| stack | boxes | LiteMedSAM, Dice in the box | quartiles | best threshold, Dice in the box | first box, s | again, s | ratio |\n|---|---|---|---|---|---|---|---|"
    )
    for case in cases(args.data):
        image, label = load(case)
        truth = label.array > 0
        shown = contrast(image)
        bright = max((shown > threshold for threshold in np.arange(0.3, 4.0, 0.1)), key=lambda mask: dsc(mask, truth))
        ours, naive, times = [], [], []
        for box in boxes(truth, args.boxes, seed=0):
            started = [time.perf_counter()]
            for _ in range(2):
                mask = segmenter.predict(image, {"box": box}).mask.array > 0
                started.append(time.perf_counter())
            times.append(np.diff(started))
            ours.append(dsc(mask[box.slices], truth[box.slices]))
            naive.append(dsc(bright[box.slices], truth[box.slices]))
        first, again = np.median(times, axis=0)
        rows.append({"stack": case.image.name, "litemedsam": ours, "threshold": naive})
        low, high = np.quantile(ours, (0.25, 0.75))
        print(f"| {case.image.name.removesuffix('_BM4D_denoised.tif')} | {len(ours)} | {np.mean(ours):.3f} | {low:.2f} to {high:.2f} "
              f"| {np.mean(naive):.3f} | {first:.2f} | {again:.2f} | {first / again:.0f} |", flush=True)  # fmt: skip
    (args.out / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
