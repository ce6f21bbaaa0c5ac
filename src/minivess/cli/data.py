"""``minivess data``: create, check and convert data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, Spacing, UnitOption, as_unit, emit, table

app = typer.Typer(no_args_is_help=True, help="Create, check and convert data sets.")


@app.command("make")
def make(
    folder: Annotated[Path, typer.Argument(help="Folder with images/ and labels/; an image and its label have the same name.")],
    subject: Annotated[
        list[str] | None, typer.Option(help="NAME=SUBJECT; repeatable. Every other image is a subject of its own.")
    ] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Subject for choosing the best checkpoint; repeatable.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Subject for testing only; repeatable.")] = None,
    spacing: Spacing = None,
    unit: UnitOption = None,
    as_json: Json = False,
) -> None:
    """Pair images with labels, split them by subject and write dataset.json.

    Example: minivess data make data --subject stack1=mouse1 --subject stack2=mouse1 --test mouse1 --spacing 1 1 5 --unit um
    """
    from minivess.errors import UsageError
    from minivess.train import make_dataset

    pairs = [text.partition("=") for text in subject or []]
    if not all(name and value for name, _, value in pairs):
        raise UsageError("--subject must be NAME=SUBJECT, for example --subject stack1=mouse1.")
    subjects = {name: value for name, _, value in pairs}
    file = make_dataset(
        folder, subjects=subjects, validation=validation or [], test=test or [], spacing=spacing, unit=as_unit(unit)
    )
    emit({"dataset": str(file)}, as_json=as_json, text=f"Written: {file}\nNext: minivess data check {folder}")


@app.command("check")
def check(dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")], as_json: Json = False) -> None:
    """Read every image and label, and check that they have the same grid.

    Example: minivess data check data
    """
    from minivess.train import check_dataset

    rows = check_dataset(dataset)
    emit(rows, as_json=as_json, text=f"{table(rows)}\nAll {len(rows)} pairs are valid.")


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="Volume, folder of slices, or folder of one DICOM series.")],
    target: Annotated[Path, typer.Argument(help="File to write: .nii.gz, .nrrd or .ome.tif.")],
    spacing: Spacing = None,
    unit: UnitOption = None,
    as_json: Json = False,
) -> None:
    """Convert a volume to another format; voxel values do not change.

    Example: minivess data convert stack.tif stack.nii.gz --spacing 0.994 0.994 5 --unit um
    """
    from minivess.dicom import read_series
    from minivess.volume import read_volume, write_volume

    if source.is_dir() and any(f.suffix.lower() == ".dcm" for f in source.rglob("*")):
        volume = read_series(source).volume
    else:
        volume = read_volume(source, spacing=spacing, unit=as_unit(unit))
    write_volume(volume, target)
    about = {"file": str(target), "shape": list(volume.shape), "spacing_um": list(volume.spacing_um), "axes": volume.axis_codes}
    emit(about, as_json=as_json, text=f"Written: {target}\n{table([about])}")
