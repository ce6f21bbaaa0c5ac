"""``minivess bundle``: list and check bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit, table

app = typer.Typer(no_args_is_help=True, help="List and check MONAI bundles, and take a publication back.")


@app.command("check")
def check(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")], as_json: Json = False) -> None:
    """Check the configuration of a bundle without running it, and refuse expressions that would run code.

    Example: minivess bundle check bundles/segresnet
    """
    from minivess.models import check_bundle

    files = check_bundle(bundle)
    text = f"{bundle} is valid and contains no code: {', '.join(files)}"
    emit({"bundle": str(bundle), "checked": files}, as_json=as_json, text=text)


@app.command("roll-back")
def roll_back_(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")], as_json: Json = False) -> None:
    """Go back to the model before the present one; repeat it to go further back. A running server uses it at once.

    Example: minivess bundle roll-back WORKSPACE/model/segresnet
    """
    from minivess.paths import file_sha256
    from minivess.train import roll_back

    sha256 = file_sha256(roll_back(bundle))
    emit({"bundle": str(bundle), "weights_sha256": sha256}, as_json=as_json, text=f"{bundle} has its earlier weights: {sha256}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the bundles that are installed with minivess.

    Example: minivess bundle list
    """
    from minivess.models import weights_path
    from minivess.models.bundle_check import read_config
    from minivess.paths import resource_path

    rows = []
    for folder in sorted(f for f in resource_path("bundles").iterdir() if (f / "configs").is_dir()):
        metadata = read_config(folder / "configs" / "metadata.json")
        row = {
            "bundle": folder.name,
            "version": metadata["version"],
            "trained": weights_path(folder).is_file(),
            "folder": str(folder),
        }
        rows.append(row)
    emit(rows, as_json=as_json, text=table(rows))
