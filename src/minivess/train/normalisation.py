"""Estimate the running statistics of batch normalisation again, for weights that no training step has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import update_bn

from minivess.datasets.dataset import TrainingCase
from minivess.models.weights import load_weights, read_weights
from minivess.paths import atomic_file
from minivess.train.run import training_workflow

#: Patches are drawn from so many cases at most, so many batches of them.
MAX_CASES, BATCHES = 16, 30
_STATISTIC = "running_mean"


def reestimate_normalisation(
    bundle: Path, weights: Sequence[Path], cases: Sequence[TrainingCase], *, preset: str, output: Path, seed: int = 0
) -> None:
    """Replace the running statistics in weights files by those of patches of cases; networks without any stay as they are.

    Interpolated weights need it: the mean of two running statistics is not that of the interpolated network's activations
    (Izmailov et al. 2018, arXiv 1803.05407, section 3.2).

    Args:
        bundle: The bundle's folder.
        weights: Safetensors files of its network; each is replaced.
        cases: Cases whose patches, as in training, are averaged over.
        preset: One of :func:`minivess.train.presets`.
        output: Folder of the run.
        seed: Seed of the patches.
    """
    files = [file for file in weights if any(_STATISTIC in name for name in read_weights(file)[0])]
    if not files:
        return
    step = max(1, -(-len(cases) // MAX_CASES))
    values = {
        "bundle_root": str(bundle),
        "output_dir": str(output),
        "seed": seed,
        "iterations_per_epoch": BATCHES,
        "train#dataset#data": [case.to_item() for case in cases[::step]],
    }
    workflow = training_workflow(bundle, preset, values)
    workflow.initialize()
    network = workflow.parser.get_parsed_content("network")
    batches = list(_images(workflow.parser.get_parsed_content("train#dataloader")))
    device = workflow.parser.get_parsed_content("device")
    for file in files:
        metadata = read_weights(file)[1]
        load_weights(network, file)
        update_bn(batches, network, device)
        state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
        with atomic_file(file) as temporary:
            save_file(state, temporary, metadata=metadata)


def _images(loader: Any) -> Iterator[torch.Tensor]:
    for batch in loader:
        image = batch["image"]
        yield image.as_tensor() if hasattr(image, "as_tensor") else image
