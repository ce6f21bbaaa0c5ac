"""``minivess demo``: the whole loop on made-up data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, answer


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for data, models and report; what a former demo left there is replaced.")
    ] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Run the main job from start to end on synthetic stacks: no network, no GPU, about five minutes on two cores.

    Example: minivess demo --out runs/demo
    """
    from minivess.demo import run_demo

    result = run_demo(out, seed=seed)
    answer(result, as_json=as_json, text=f"\nDone in {result['seconds']:.0f} s. Open {result['report']}")
