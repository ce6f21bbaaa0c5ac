"""Make the small stack of the Slicer extension's tutorial, and its thumbnail. Prints the SHA-256 that the module checks.

python tools/slicer_sample.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from minivess.paths import file_sha256
from minivess.synth import make_sample
from minivess.volume import Volume, write_volume

RESOURCES = Path(__file__).resolve().parents[1] / "slicer_plugin" / "MinIVessReview" / "Resources"


def main() -> None:
    image = make_sample("capillary", 3, shape=(96, 80, 12)).image
    low, high = np.percentile(image.array, (1, 99.8))
    grey = np.clip((image.array - low) / (high - low), 0, 1)
    coarse = (np.round(grey * 15) * 17).astype(np.uint8)  # sixteen greys: a few kB
    in_slicer = Volume(coarse, image.affine, "mm")  # viewers know mm only: 1 mm for 1 um
    target = write_volume(in_slicer, RESOURCES / "SampleData" / "MinIVessSynthetic.nrrd")
    shown = Image.fromarray(coarse.max(axis=2).T).resize((260, 216))
    shown.save(RESOURCES / "Icons" / "MinIVessSynthetic.png", optimize=True)
    print(f"{target.name}: {target.stat().st_size} bytes, SHA256:{file_sha256(target)}")


if __name__ == "__main__":
    main()
