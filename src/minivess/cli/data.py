"""``minivess data``: create, check and convert data sets."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Channel, DepthAxis, Json, Spacing, TimePoint, UnitOption, as_unit, emit, table

app = typer.Typer(no_args_is_help=True, help="Create, check and convert data sets.")


Replace = Annotated[bool, typer.Option("--replace", help="Replace an existing file.")]


@app.command("make")
def make(
    folder: Annotated[Path, typer.Argument(help="Folder with images/ and labels/; an image and its label have the same name.")],
    subject: Annotated[
        list[str] | None, typer.Option(help="NAME=SUBJECT; repeatable. Every other image is a subject of its own.")
    ] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Subject for choosing the best checkpoint; repeatable.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Subject for testing only; repeatable.")] = None,
    spacing: Spacing = None,
    spacing_of: Annotated[list[str] | None, typer.Option(help="NAME=X,Y,Z: voxel size of one image; repeatable.")] = None,
    unit: UnitOption = None,
    image_suffix: Annotated[
        list[str] | None, typer.Option(help="End of image names that is not part of the pair's name; repeatable.")
    ] = None,
    label_suffix: Annotated[
        list[str] | None, typer.Option(help="End of label names that is not part of the pair's name; repeatable.")
    ] = None,
    label_threshold: Annotated[
        float | None, typer.Option(help="Labels are vessel above this value (masks saved as JPEG).", show_default=False)
    ] = None,
    channel: Channel = None,
    time: TimePoint = None,
    depth_axis: DepthAxis = "Z",
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Pair images with labels, split them by subject and write dataset.json.

    A spacing is used for files that do not state one. An existing dataset.json with other content is not replaced.

    Example: minivess data make data --subject stack1=mouse1 --subject stack2=mouse1 --test mouse1 --spacing 1 1 5 --unit um
    """
    from minivess.datasets import FileOptions, make_dataset
    from minivess.errors import UsageError
    from minivess.volume.planes import Planes

    pairs = [text.partition("=") for text in subject or []]
    if not all(name and value for name, _, value in pairs):
        raise UsageError("--subject must be NAME=SUBJECT, for example --subject stack1=mouse1.")
    twice = [name for name, count in Counter(name for name, _, _ in pairs).items() if count > 1]
    if twice:
        raise UsageError(f"--subject names {twice[0]} twice. An image is of one subject.")
    if label_threshold is not None and not math.isfinite(label_threshold):
        raise UsageError(f"--label-threshold must be a number. Got {label_threshold}.")
    planes = Planes(channel, time, depth_axis)
    planes.check()
    options = FileOptions(spacing, dict(map(_spacing_of, spacing_of or [])), as_unit(unit), planes, label_threshold)
    file = make_dataset(
        folder,
        subjects={name: value for name, _, value in pairs},
        validation=validation or [],
        test=test or [],
        options=options,
        image_suffixes=image_suffix or [],
        label_suffixes=label_suffix or [],
        replace=replace,
    )
    emit({"dataset": str(file)}, as_json=as_json, text=f"Written: {file}\nNext: minivess data check {folder}")


def _spacing_of(text: str) -> tuple[str, tuple[float, float, float]]:
    from minivess.errors import UsageError

    name, _, sizes = text.partition("=")
    try:
        x, y, z = (float(size) for size in sizes.split(","))
    except ValueError as error:
        raise UsageError(
            f"--spacing-of must be NAME=X,Y,Z, for example --spacing-of stack1=0.5,0.5,2. Got {text[:60]!r}."
        ) from error
    return name, (x, y, z)


@app.command("check")
def check(dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")], as_json: Json = False) -> None:
    """Read every image and label, check that they have the same grid, and warn of what is probably wrong.

    Example: minivess data check data
    """
    from minivess.datasets import check_dataset

    report = check_dataset(dataset)
    lines = [table(report.rows), *(f"Warning: {text}" for text in report.warnings)]
    count = len(report.rows)
    lines.append(f"All {count} pairs are valid." if not report.warnings else f"All {count} pairs can be read; see the warnings.")
    emit({"cases": report.rows, "warnings": report.warnings}, as_json=as_json, text="\n".join(lines))


@app.command("pin")
def pin(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or a single file.")],
    as_json: Json = False,
) -> None:
    """Pin the present version of a data set: write a .dvc file beside it, as `dvc add` does.

    Training and evaluation refuse data that are not as pinned, and record which version they used.

    Example: minivess data pin runs/data
    """
    from minivess.datasets.dvc import read_pin, write_pin

    file = write_pin(data)
    md5 = read_pin(file).md5
    emit({"file": str(file), "md5": md5}, as_json=as_json, text=f"Pinned: {file}, MD5 {md5}")


@app.command("deidentify")
def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder of DICOM files: any number of patients, studies and series.")],
    target: Annotated[Path, typer.Argument(help="New folder for the de-identified copies.")],
    key: Annotated[
        Path | None,
        typer.Option(
            help="File with a secret: with the same one a patient gets the same pseudonym again. Made if missing; keep it apart."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write copies without what identifies the patient, by the Basic Profile of DICOM PS3.15; pixels do not change.

    Reports, photographs, ultrasound and pictures of screens are left out. deidentification.json says what was
    removed, and no value of it.

    Example: minivess data deidentify SERIES runs/deidentified
    """
    from tqdm import tqdm

    from minivess.dicom.deidentify import REPORT, deidentify_folder, read_key

    with tqdm(desc="deidentify", unit="file", disable=as_json, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = deidentify_folder(source, target, read_key(key), progress)
    lines = [f"{sum(report.files.values())} files of {len(report.files)} patients: {target}, report {REPORT}"]
    lines += [f"Left out: {count} x {reason}" for reason, count in sorted(report.left_out.items())]
    lines += [f"Remark: {text}" for text in report.remarks]
    emit(report.to_json(), as_json=as_json, text="\n".join(lines))


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(help="Volume, folder of slices, or folder of one DICOM series.")],
    target: Annotated[Path, typer.Argument(help="File to write: .nii.gz, .nrrd, .mha or .ome.tif.")],
    spacing: Spacing = None,
    unit: UnitOption = None,
    channel: Channel = None,
    time: TimePoint = None,
    depth_axis: DepthAxis = "Z",
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Convert a volume to another format; voxel values do not change. An existing file is not replaced without --replace.

    Example: minivess data convert stack.tif stack.nii.gz --spacing 0.994 0.994 5 --unit um
    """
    from minivess.dicom.series_files import holds_dicom
    from minivess.errors import ConflictError, InputError, UsageError
    from minivess.volume import read_volume, write_volume
    from minivess.volume.planes import Planes

    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{source} would be replaced by its own conversion. Choose another name.")
    if target.exists() and not replace:
        raise ConflictError(f"{target} exists. Nothing was changed. Replace it: --replace, or choose another name.")
    if holds_dicom(source):
        from minivess.dicom import read_series

        if spacing or unit or channel or time or depth_axis != "Z":
            raise UsageError("A DICOM series states its voxel size and its slices. Remove --spacing, --unit, --channel, --time.")
        volume = read_series(source).volume
    else:
        volume = read_volume(source, spacing=spacing, unit=as_unit(unit), planes=Planes(channel, time, depth_axis))
    write_volume(volume, target)
    about = {"file": str(target), "shape": list(volume.shape), "spacing_um": list(volume.spacing_um), "axes": volume.axis_codes}
    lost = target.suffix.lower() in (".tif", ".tiff") and any(volume.affine[:3, 3])
    about |= {"remark": "TIFF keeps no position: the origin is 0 now. Write .nii.gz or .nrrd to keep it."} if lost else {}
    emit(about, as_json=as_json, text=f"Written: {target}\n{table([about])}")
