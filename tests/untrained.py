"""A bundle with seeded weights that finds vessels without any training: real files, real loading, in a second.

Its network is small, and an epoch of the preset `tiny` is a few steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from monai.bundle import ConfigParser
from monai.networks.nets import SegResNetDS

from minivess.models import save_weights, weights_path
from minivess.train import copy_bundle

SMALL = {"init_filters": 4, "blocks_down": [1, 1, 1, 1]}
SHORT = {"iterations_per_epoch": 10, "items_per_batch": 2}


def untrained_bundle(source: Path, folder: Path, threshold: float = 1.0, *, small: bool = True) -> Path:
    """Copy a bundle; its network starts as a threshold on contrast. A low one paints a wide halo around every vessel.

    With ``small=False`` network and preset are as they are shipped, for tests in which a prediction takes seconds.
    """
    bundle = copy_bundle(source, folder)
    if small:
        tiny = bundle / "configs" / "tiny.yaml"
        tiny.write_text(yaml.safe_dump(yaml.safe_load(tiny.read_text()) | SHORT, sort_keys=False))
        for file in (bundle / "configs" / name for name in ("train.yaml", "inference.yaml")):
            config = yaml.safe_load(file.read_text())
            config["network_def"] |= SMALL
            file.write_text(yaml.safe_dump(config, sort_keys=False))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    begin_as_threshold(network, threshold)
    save_weights(network, weights_path(bundle), {"made_by": "untrained_bundle", "threshold": f"{threshold:g}"})
    return bundle


@torch.no_grad()
def begin_as_threshold(network: SegResNetDS, threshold: float, slope: float = 4.0) -> None:
    """Set weights with which the logit is ``slope * (contrast - threshold)``, and which training changes like any others.

    The first channel carries the contrast from the first convolution to the head; what would be added to it on the way is 0.
    """
    encoder, last = network.encoder, network.up_layers[-1]
    encoder.conv_init.weight[0].zero_()
    encoder.conv_init.weight[(0, 0, *(n // 2 for n in encoder.conv_init.kernel_size))] = 1.0
    for block in (*encoder.layers[0]["blocks"], *last["blocks"]):
        block.conv2.weight.zero_()
    for weight in last["upsample"].parameters():
        weight.zero_()
    last["head"].weight.zero_()
    last["head"].weight[:, 0] = slope
    last["head"].bias.fill_(-slope * threshold)
