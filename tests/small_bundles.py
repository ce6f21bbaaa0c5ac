"""Every bundle that is shipped, small enough for a CPU, with seeded weights: real files, real loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser

from minivess.models import base_path, save_weights, weights_path
from minivess.models.sam3_base import random_base
from minivess.paths import file_sha256
from minivess.train import copy_bundle
from minivess.uncertainty.quality import QualityModel, write_quality

BUNDLES = Path(__file__).parents[1] / "bundles"
#: What makes the network of a bundle small; the other bundles are.
_SMALL: dict[str, dict[str, Any]] = {
    "vista3d": {"encoder_embed_dim": 8},
    "sam3_lora": {"rank": 4},
    "litemedsam": {"picture_px": 32},
}


def shipped() -> list[str]:
    """Names of the bundles."""
    return sorted(folder.name for folder in BUNDLES.iterdir() if (folder / "configs" / "inference.yaml").is_file())


def small_bundle(source: Path, folder: Path, *, weights: bool = True) -> Path:
    """Copy a bundle, whichever it is, and make its network small."""
    bundle = copy_bundle(source, folder)
    text = (bundle / "configs" / "inference.yaml").read_text()
    for file in (bundle / "configs" / name for name in ("train.yaml", "inference.yaml")):
        config = yaml.safe_load(file.read_text())
        config["network_def"] |= _SMALL.get(source.name, {})
        file.write_text(yaml.safe_dump(config, sort_keys=False))
    if "/models/base" in text:
        random_base(base_path(bundle), image_size=56)
    if weights:
        save_weights(network_of(bundle), weights_path(bundle), {"made_by": "small_bundle"})
    return bundle


def with_quality(bundle: Path) -> Path:
    """Add a quality model of made cases to a trained bundle; the better the confidence, the better the case."""
    confidence = np.linspace(0.2, 0.98, 40)
    model = QualityModel({"soft_dice_confidence": confidence.tolist()}, confidence.tolist(), [f"m{n}" for n in range(40)])
    write_quality(bundle, model, file_sha256(weights_path(bundle)))
    return bundle


def network_of(bundle: Path, seed: int = 0) -> torch.nn.Module:
    """Build the network of a bundle with seeded weights, in which nothing is zero."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(bundle)
    torch.manual_seed(seed)
    network = parser.get_parsed_content("network_def")
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_B" in name:  # zero before any training
                value.normal_(std=0.05)
    return network
