"""One training in several processes, one a GPU, as ``torchrun`` starts them: see ``configs/multi_gpu.yaml`` of a bundle."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from minivess.errors import UsageError
from minivess.models import pick_device
from minivess.train.handlers import seed_everything


def join_group(seed: int) -> None:
    """Join the processes that torchrun has started, and seed this one, so that each draws other patches.

    Args:
        seed: Seed of the first process; the others count on from it.

    Raises:
        UsageError: When the process was not started by torchrun.
    """
    if "LOCAL_RANK" not in os.environ:
        raise UsageError(
            "configs/multi_gpu.yaml is for torchrun: torchrun --standalone --nproc_per_node GPUS -m monai.bundle run ..."
        )
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    seed_everything(seed + dist.get_rank())


def leave_group() -> None:
    """Leave the group at the end of a training."""
    dist.destroy_process_group()


def own_device() -> torch.device:
    """Return the GPU of this process, by its number on this machine; the CPU without GPUs."""
    device = pick_device()
    return torch.device(device.type, int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device


def replicate(network: torch.nn.Module) -> DistributedDataParallel:
    """Return a network whose weights are those of the first process, and whose gradients are the mean over all.

    Args:
        network: The network, on the device of this process.
    """
    device = next(network.parameters()).device
    # Promptable networks use a part of their parameters in a step.
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True)
