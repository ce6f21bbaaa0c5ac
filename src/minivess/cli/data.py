"""``minivess data``: pair, split, check and convert volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, Spacing, UnitOption, answer, as_unit, table

app = typer.Typer(no_args_is_help=True, help="Make, check and convert data sets.")


@app.command("make")
def make(
    folder: Annotated[Path, typer.Argument(help="Folder with images/ and labels/ of equal names.")],
    subject: Annotated[
        list[str] | None, typer.Option(help="NAME=SUBJECT; repeat. Unnamed images are subjects of their own.")
    ] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Subject that chooses the best checkpoint; repeat.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Subject that is only reported on; repeat.")] = None,
    spacing: Spacing = None,
    unit: UnitOption = None,
    as_json: Json = False,
) -> None:
    """Pair images with labels, split them by subject, write dataset.json.

    Example: minivess data make data --subject stack1=mouse1 --subject stack2=mouse1 --test mouse1 --spacing 1 1 5 --unit um
    """
    from minivess.errors import UsageError
    from minivess.train import make_dataset

    pairs = [text.partition("=") for text in subject or []]
    if not all(name and value for name, _, value in pairs):
        raise UsageError("--subject takes NAME=SUBJECT, for example --subject stack1=mouse1.")
    subjects = {name: value for name, _, value in pairs}
    file = make_dataset(
        folder, subjects=subjects, validation=validation or [], test=test or [], spacing=spacing, unit=as_unit(unit)
    )
    answer({"dataset": str(file)}, as_json=as_json, text=f"Written: {file}\nNext: minivess data check {folder}")


@app.command("check")
def check(dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")], as_json: Json = False) -> None:
    """Read every pair and check that labels lie on their images.

    Example: minivess data check data
    """
    from minivess.train import check_dataset

    rows = check_dataset(dataset)
    answer(rows, as_json=as_json, text=f"{table(rows)}\nAll {len(rows)} pairs fit.")


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="Volume, folder of slices, or folder with one DICOM series.")],
    target: Annotated[Path, typer.Argument(help="File to write: .nii.gz, .nrrd or .ome.tif.")],
    spacing: Spacing = None,
    unit: UnitOption = None,
    as_json: Json = False,
) -> None:
    """Write a volume in another format, voxels unchanged.

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
    answer(about, as_json=as_json, text=f"Written: {target}\n{table([about])}")
