"""Compare synthetic two-photon stacks with the real ones: a table and a picture, which shows synthetic voxels only.

python benchmarks/synth_statistics.py --out docs/evidence
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import edt
import numpy as np
from PIL import Image
from two_photon import cases, load

from minivess.metrics import centreline_from_mask
from minivess.pictures import projection, side_by_side
from minivess.synth import make_sample
from minivess.volume import Volume

COLUMNS = {
    "vessel %": "share of voxels in vessels",
    "contrast": "median of vessels over median of background",
    "range": "99.9th percentile over median of background",
    "dim vessels": "10th percentile of vessels over median of background",
    "noise": "spread of background (half of 16th to 84th percentile) over its median",
    "radius um": "median in-plane radius on the centre-line",
    "widest um": "99th percentile of that radius",
    "z blur": "correlation of neighbouring slices minus that of voxels equally far apart in plane, inside vessels",
    "length": "mm of centre-line in a cubic mm",
}


def statistics(image: Volume, label: Volume) -> dict[str, float]:
    voxels, mask = image.array.astype(np.float64), label.array > 0
    background = np.median(voxels[~mask])
    line = centreline_from_mask(mask)
    x, _, z = image.spacing_um
    radius = x * edt.edt(mask, anisotropy=(1.0, 1.0, 1e6))[line]
    low, high = np.percentile(voxels[~mask], (16, 84))
    step = max(1, round(z / x))
    near = mask[:, :, 1:] | mask[:, :, :-1]
    across = np.corrcoef(voxels[:, :, 1:][near], voxels[:, :, :-1][near])[0, 1]
    beside = mask[step:] | mask[:-step]
    along = np.corrcoef(voxels[step:][beside], voxels[:-step][beside])[0, 1]
    volume_mm3 = mask.size * np.prod(image.spacing_um) * 1e-9
    return {
        "vessel %": 100 * mask.mean(),
        "contrast": np.median(voxels[mask]) / background,
        "range": np.percentile(voxels, 99.9) / background,
        "dim vessels": np.percentile(voxels[mask], 10) / background,
        "noise": (high - low) / 2 / background,
        "radius um": float(np.median(radius)),
        "widest um": float(np.percentile(radius, 99)),
        "z blur": across - along,
        "length": line.sum() * np.mean([x, x, z]) * 1e-3 / volume_mm3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "two_photon")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows, pictures = [], []
    for case in cases(arguments.data):
        rows.append((f"real: {case.name.split('_BM4D')[0]}", statistics(*load(case))))
    for kind, seeds in (("capillary", range(3)), ("large", range(3))):
        for seed in seeds:
            sample = make_sample(kind, seed)
            rows.append((f"synthetic: {kind}, seed {seed}", statistics(sample.image, sample.mask)))
            pictures.append(np.asarray(Image.fromarray(projection(sample.image)).resize((200, 200))))
    head = "| stack | " + " | ".join(COLUMNS) + " |"
    lines = [head, "|" + "---|" * (len(COLUMNS) + 1)]
    lines += [f"| {name} | " + " | ".join(f"{values[c]:.2f}" for c in COLUMNS) + " |" for name, values in rows]
    print("\n".join(lines))
    legend = "\n".join(f"- {name}: {meaning}" for name, meaning in COLUMNS.items())
    text = (
        "# Synthetic stacks beside the real ones\n\nWritten by `benchmarks/synth_statistics.py`. The picture shows synthetic stacks "
        "only (brightest voxel along z, square root): capillary, then large.\n\n![synthetic stacks](synthetic.png)\n\n"
    )
    (arguments.out / "synthetic.md").write_text(text + "\n".join(lines) + "\n\n" + legend + "\n")
    Image.fromarray(side_by_side(*pictures)).convert("P", palette=Image.Palette.ADAPTIVE).save(
        arguments.out / "synthetic.png", optimize=True
    )


if __name__ == "__main__":
    main()
