"""``minivess demo``: the whole workflow on synthetic data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for data, models and report; the output of a previous demo is replaced.")
    ] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the data and the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Run the whole workflow on synthetic stacks: no network, no GPU, about six minutes on two CPU cores.

    Example: minivess demo --out runs/demo
    """
    from minivess.extras import require_extra

    for extra in ("label", "map"):
        require_extra(extra, "The demo")
    from minivess.demo import run_demo

    result = run_demo(out, seed=seed)
    emit(result, as_json=as_json, text=f"\nDone in {result['seconds']:.0f} s. Open {result['report']}")
