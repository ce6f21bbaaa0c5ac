"""Record what MetricsReloaded computes, where it is installed; the test compares ours with the record.

    uv pip install "git+https://github.com/Project-MONAI/MetricsReloaded"   # with setuptools < 81; it is in no package index
    python tests/metrics/record_metrics_reloaded.py

Only values are recorded: NaN as null, an error by its name.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from mask_pairs import odd_pairs, random_pairs
from MetricsReloaded.metrics.pairwise_measures import BinaryPairwiseMeasures

RECORD = Path(__file__).with_name("metrics_reloaded.json")
NAMES = ("dsc", "cldice", "nsd", "hd_perc", "masd", "assd")


def score(name: str, reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float]) -> Any:
    masks = [mask.astype(np.uint8) if mask.dtype == bool else mask for mask in (prediction, reference)]
    arguments = {"nsd": max(spacing), "hd_perc": 95}
    measures = BinaryPairwiseMeasures(*masks, measures=[name], pixdim=list(spacing), dict_args=arguments)
    try:
        value = float(measures.to_dict_meas()[name])
    except Exception as error:  # noqa: BLE001 (it is what is recorded)
        return type(error).__name__
    return None if np.isnan(value) else value


def main() -> None:
    warnings.simplefilter("ignore")
    rows = {
        case: {name: score(name, *pair) for name in NAMES} for pairs in (random_pairs(), odd_pairs()) for case, *pair in pairs
    }
    RECORD.write_text(json.dumps({"scikit-image": skimage.__version__, "pairs": rows}, indent=1) + "\n")
    print(f"{len(rows)} pairs: {RECORD}")


if __name__ == "__main__":
    main()
