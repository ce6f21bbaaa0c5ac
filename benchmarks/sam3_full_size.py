"""Time and memory of SAM 3 with LoRA at its full size, with random values: a tile, a training step, a click.

    python benchmarks/sam3_full_size.py --folder runs/sam3_full

The random base of 1.9 GB is made once in the folder. Each row runs in this process, one after the other; the memory is the peak so far.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import torch
from held_out import table

from minivess.models import pick_device
from minivess.models.sam3 import Sam3Lora
from minivess.models.sam3_base import random_base
from minivess.train.loss import VesselLoss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    if not (arguments.folder / "base.json").is_file():
        random_base(arguments.folder, full_size=True)
    rows, device = [], pick_device()

    def measure(what: str, work: Callable[[], object]) -> None:
        start, cpu = time.monotonic(), time.process_time()
        work()
        peak = (
            torch.cuda.max_memory_allocated()
            if device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        rows.append({"what": what, "wall s": time.monotonic() - start, "CPU s": time.process_time() - cpu, "peak GB": peak / 1e9})
        print(rows[-1], flush=True)

    loaded: list[Sam3Lora] = []
    measure("read the base and add adapters", lambda: loaded.append(Sam3Lora(str(arguments.folder)).to(device).eval()))
    network = loaded[0]
    trained = sum(value.numel() for value in network.parameters() if value.requires_grad)
    print(f"{sum(v.numel() for v in network.parameters()) / 1e6:.1f} M parameters, {trained / 1e6:.2f} M trained, on {device}")
    tile = torch.rand(1, 1, 256, 256, 1, device=device) * 4

    def infer(kind: torch.dtype | None) -> None:
        with torch.inference_mode(), torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None):
            network(tile)

    measure("one tile of 256 x 256, float32", lambda: infer(None))
    measure("one tile of 256 x 256, bfloat16", lambda: infer(torch.bfloat16))

    def click() -> None:
        with torch.inference_mode():
            network.click_logits(tile, torch.tensor([[128, 128, 0]], device=device), torch.tensor([1], device=device))

    measure("one click in one slice, float32", click)

    def step() -> None:
        network.train()
        loss = VesselLoss(cldice_weight=0.0)(network(tile), (tile > 3).float())
        loss.backward()

    measure("one LoRA training step on one tile, float32", step)
    print(table(rows))


if __name__ == "__main__":
    main()
