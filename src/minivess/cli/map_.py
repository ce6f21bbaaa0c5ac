"""``minivess map``: run a MONAI Deploy application on a DICOM folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run the application package: DICOM in, DICOM out.")


@app.callback()
def _noun() -> None:
    """Keep the verb, also while there is only one."""


@app.command("run")
def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with the files of one series.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the result.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A trained bundle, or a folder that holds one.")],
) -> None:
    """Segment a series: OUT gets a DICOM SEG and result.json, or nothing at all.

    Example: minivess map run series/ result/ --model runs/model
    """
    import subprocess
    import sys

    from minivess.errors import InputError, MissingExtraError
    from minivess.extras import missing_modules
    from minivess.paths import door

    missing = missing_modules("map")
    if missing:
        raise MissingExtraError(f"The application needs {', '.join(missing)}. Install the extra map (in a checkout: make setup)")
    if not source.is_dir():
        raise InputError(f"No such folder: {source}. Name the folder that holds the DICOM files of one series.")
    command = [sys.executable, str(door("maps/vessel_seg")), "-i", str(source), "-o", str(out), "-m", str(model)]
    raise typer.Exit(subprocess.call(command))
