"""``minivess map``: run the MONAI Deploy application on a DICOM folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run the MONAI Deploy application: DICOM series in, DICOM SEG out.")


@app.callback()
def _noun() -> None:
    """Require the verb, although there is only one."""


@app.command("run")
def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with the files of one DICOM series.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New or empty folder for the result.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="Trained bundle, or a folder that contains one.")],
    only_seg: Annotated[bool, typer.Option("--only-seg", help="No uncertainty map and no report beside the SEG.")] = False,
    any_modality: Annotated[bool, typer.Option("--any-modality", help="Also images that the model was not made for.")] = False,
) -> None:
    """Segment a series; OUT contains a SEG, an uncertainty map, measurements and result.json, or nothing when an error occurs.

    Example: minivess map run series/ result/ --model runs/model
    """
    import os
    import sys

    from minivess.errors import InputError
    from minivess.extras import require_extra
    from minivess.paths import resource_path

    require_extra("map", "The MAP")
    if not source.is_dir():
        raise InputError(f"No such folder: {source}. Choose the folder that contains the DICOM files of one series.")
    command = [sys.executable, str(resource_path("maps/vessel_seg")), "-i", str(source), "-o", str(out), "-m", str(model)]
    options = [name for name, given in (("--any-modality", any_modality), ("--only-seg", only_seg)) if given]
    os.execv(sys.executable, [*command, *options])  # noqa: S606 (a list of words, no shell)
