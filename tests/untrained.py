"""A bundle with seeded weights that finds vessels without any training: real files, real loading, in a second.

Its network is small, and an epoch of the preset `tiny` is a few steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from monai.bundle import ConfigParser

from minivess.models import save_weights, weights_path
from minivess.train import copy_bundle

SMALL = {"init_filters": 4, "blocks_down": [1, 1, 1, 1]}
SHORT = {"iterations_per_epoch": 10, "items_per_batch": 2}


def untrained_bundle(source: Path, folder: Path, threshold: float = 1.0, *, small: bool = True) -> Path:
    """Copy a bundle; its network starts as a threshold on contrast. A low one paints a wide halo around every vessel.

    With ``small=False`` network and preset are as they are shipped, for tests in which a prediction takes seconds.
    """
    bundle = copy_bundle(source, folder)
    tiny = bundle / "configs" / "tiny.yaml"
    if small:
        tiny.write_text(yaml.safe_dump(yaml.safe_load(tiny.read_text()) | SHORT, sort_keys=False))
    for file in (bundle / "configs" / name for name in ("train.yaml", "inference.yaml")):
        config = yaml.safe_load(file.read_text())
        config["network_def"] |= SMALL if small else {}
        config["network_def"] = {
            "_target_": "minivess.models.networks.ContrastResidual",
            "network": config["network_def"],
            "threshold": threshold,
        }
        file.write_text(yaml.safe_dump(config, sort_keys=False))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    save_weights(
        parser.get_parsed_content("network_def"),
        weights_path(bundle),
        {"made_by": "untrained_bundle", "threshold": f"{threshold:g}"},
    )
    return bundle
