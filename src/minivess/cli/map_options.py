"""Options that the commands of ``minivess map`` share: which application runs, and what it writes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from minivess.errors import UsageError

Model = Annotated[Path | None, typer.Option("--model", "-m", help="Trained bundle, or a folder that contains one.")]
PackagedImage = Annotated[str | None, typer.Option("--image", help="A packaged application: image, or folder of `map build`.")]
OnlySeg = Annotated[bool, typer.Option("--only-seg", help="No uncertainty map and no report beside the SEG.")]
AnyModality = Annotated[bool, typer.Option("--any-modality", help="Also images that the model was not made for.")]
Pictures = Annotated[bool, typer.Option("--pictures", help="Also pictures with outlines, for a PACS that shows no SEG.")]
SegType = Annotated[
    Literal["binary", "labelmap", "fractional"],
    typer.Option(help="SegmentationType: labelmap is for newer viewers, fractional is the probability."),
]

RunEngine = Annotated[
    str | None,
    typer.Option(
        "--engine", help="docker or podman (image), bubblewrap or process (folder).", show_default="the first that works"
    ),
]
Memory = Annotated[str | None, typer.Option(help="Limit of memory, for example 8Gi.", show_default="what the package asks for")]
TimeLimit = Annotated[float | None, typer.Option("--timeout-s", help="Limit of time; 0 is none.", show_default="of the package")]


def check_application(model: Path | None, image: str | None, package: Sequence[str] = (), memory: str | None = None) -> None:
    """Raise UsageError unless one application is named, and its model is there; options of packages are for packages only."""
    if (model is None) == (image is None):
        raise UsageError("Name a trained bundle with --model, or a packaged application with --image.")
    if model is not None and package:
        raise UsageError("--engine, --memory and --timeout-s are for packaged applications: name one with --image.")
    if memory is not None:
        from minivess.map_package.manifests import parse_size

        parse_size(memory)
    if model is not None and not model.exists():
        raise UsageError(f"No such model: {model}. Name a trained bundle.")


def application_options(only_seg: bool, any_modality: bool, pictures: bool, seg_type: str) -> list[str]:
    """Return the options of the application that differ from what it does without them."""
    given = {"--only-seg": only_seg, "--any-modality": any_modality, "--pictures": pictures}
    options = [name for name, is_given in given.items() if is_given]
    return options if seg_type == "binary" else [*options, "--seg-type", seg_type]


def package_options(engine: str | None, memory: str | None, timeout_s: float | None) -> list[str]:
    """Return the options of a packaged application that were given."""
    given = {"--engine": engine, "--memory": memory, "--timeout-s": timeout_s}
    return [word for name, value in given.items() if value is not None for word in (name, str(value))]


def application(model: Path | None, image: str | None, options: list[str]) -> list[str]:
    """Return the command that runs the application on one series."""
    which = ["--model", str(model)] if model is not None else ["--image", str(image)]
    return [sys.executable, "-m", "minivess", "map", "run", "{in}", "{out}", *which, *options]
