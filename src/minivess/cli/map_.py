"""``minivess map``: run the MONAI Deploy application on one DICOM series or many; package it, check packages."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.map_listen import listen
from minivess.cli.map_options import (
    AnyModality,
    Memory,
    Model,
    OnlySeg,
    PackagedImage,
    Pictures,
    RunEngine,
    SegType,
    TimeLimit,
    application,
    application_options,
    check_application,
    package_options,
)
from minivess.cli.output import Json, emit, table

app = typer.Typer(no_args_is_help=True, help="The MONAI Deploy application: DICOM series in, DICOM SEG out.")
app.command("listen")(listen)


@app.command("run")
def run(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with the files of one DICOM series.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New or empty folder for the result.")],
    model: Model = None,
    image: PackagedImage = None,
    engine: RunEngine = None,
    memory: Memory = None,
    timeout_s: TimeLimit = None,
    only_seg: OnlySeg = False,
    any_modality: AnyModality = False,
    pictures: Pictures = False,
    seg_type: SegType = "binary",
) -> None:
    """Segment a series; OUT contains a SEG, an uncertainty map, measurements and result.json, or nothing when an error occurs.

    Example: minivess map run series/ result/ --model runs/model, or packaged: minivess map run series/ result/ --image vessels:1
    """
    from minivess.errors import InputError
    from minivess.extras import require_extra

    if not source.is_dir():
        raise InputError(f"This is no folder: {source}. Choose the folder that contains the DICOM files of one series.")
    check_application(model, image, package_options(engine, memory, timeout_s), memory)
    require_extra("map", "The MAP")
    options = application_options(only_seg, any_modality, pictures, seg_type)
    if model is not None:
        _replace_process(source, out, model, options)
    from minivess.map_package import run_package
    from minivess.map_package.manifests import parse_size

    code = run_package(
        str(image),
        source,
        out,
        engine=engine,
        memory_bytes=parse_size(memory) if memory else None,
        timeout_s=timeout_s,
        arguments=options,
    )
    if code == 0:
        typer.echo(f"Done: {out}")
    raise typer.Exit(code)


def _replace_process(source: Path, out: Path, model: Path, options: list[str]) -> None:
    """Become the application: its signals and its exit code are those of the command."""
    import os
    import sys

    from minivess.paths import resource_path

    command = [sys.executable, str(resource_path("maps/vessel_seg")), "-i", str(source), "-o", str(out), "-m", str(model)]
    os.execv(sys.executable, [*command, *options])  # noqa: S606 (a list of words, no shell)


@app.command("batch")
def batch(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with any number of DICOM series, in any sub-folders.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results: one folder each, and summary.csv.")],
    model: Model = None,
    image: PackagedImage = None,
    engine: RunEngine = None,
    memory: Memory = None,
    timeout_s: TimeLimit = None,
    only_seg: OnlySeg = False,
    any_modality: AnyModality = False,
    pictures: Pictures = False,
    seg_type: SegType = "binary",
    as_json: Json = False,
) -> None:
    """Segment every series below a folder. Run again, it does what is missing. Exit code 1 when a series has no result.

    Example: minivess map batch studies/ results/ --model runs/model
    """
    from minivess.extras import require_extra

    limits = package_options(engine, memory, timeout_s)
    check_application(model, image, limits, memory)
    require_extra("map", "The MAP")
    from minivess.map_package.application import identify_application
    from minivess.map_package.batch import SUMMARY, find_batch, run_batch

    identity = identify_application(model, image, engine)
    found, results = find_batch(source, out), []
    total = len(found.series.keys() | found.unusable.keys())
    if found.links:
        typer.echo(f"{len(found.links)} linked folders are not followed: {', '.join(sorted(found.links)[:5])}", err=True)
    command = application(model, image, application_options(only_seg, any_modality, pictures, seg_type))
    for result in run_batch(found, out, command, identity=identity, limits=limits):
        results.append(result)
        about = f"{len(results)} of {total}: {result.series}, {result.images} images, {result.result}. {result.reason}"
        typer.echo(about.rstrip(), err=True)
    missing = sum(result.result != "done" for result in results)
    text = f"{len(results)} series: {len(results) - missing} done, {missing} without a result. {out / SUMMARY}"
    emit({"series": [asdict(result) for result in results], "without_result": missing}, as_json=as_json, text=text)
    if missing:
        raise typer.Exit(1)


@app.command("build")
def build(
    bundle: Annotated[str, typer.Argument(help="Trained bundle or ensemble, or models:/NAME@champion of the registry.")],
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Name of the image.", show_default="no image")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keep the content of the image in this folder.", show_default="temporary")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Image to build on: a Linux with Python 3.11 as python3.", show_default="python:3.11, pulled if it is not there"
        ),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="docker, podman or buildah.", show_default="the first that works")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda: with the libraries for a GPU.")] = "cpu",
    matrix: Annotated[
        tuple[int, int, int], typer.Option(help="Columns, rows, slices of the largest series; decides the memory asked for.")
    ] = (512, 512, 400),
    packages: Annotated[
        bool, typer.Option(help="Copy the Python packages; without them, only this environment runs the folder.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Package a bundle as a MONAI Deploy application package, from this environment and without a network.

    Example: minivess map build runs/model -t vessels:1
    """
    import tempfile

    from minivess.errors import UsageError
    from minivess.extras import require_extra

    if tag is None and folder is None:
        raise UsageError("Name the image with --tag, or a folder with --folder.")
    if tag and not packages:
        raise UsageError("An image needs the packages: leave out --no-packages, or --tag.")
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device {device}: allowed are cpu and cuda.")
    require_extra("map", "The MAP")
    from minivess.cli.bundle_source import bundle_folder
    from minivess.map_package import find_engine, write_package
    from minivess.map_package.engines import BUILDERS
    from minivess.map_package.folder import content_sha256

    builder = find_engine(engine, among=BUILDERS) if tag else None  # before the long work
    with tempfile.TemporaryDirectory(prefix="minivess-map-") as text:
        content = folder or Path(text) / "map"
        source = bundle_folder(bundle, Path(text))
        write_package(source, content, device="cuda" if device == "cuda" else "cpu", packages=packages, matrix=matrix)
        digest = content_sha256(content)
        if builder and tag:
            builder.build(content, tag, base=base)
    about = {"image": tag, "folder": str(folder) if folder else None, "content_sha256": digest}
    made = [f"image {tag} by {builder.name}" if builder else "", f"folder {folder}" if folder else ""]
    emit(about, as_json=as_json, text=f"Packaged: {', '.join(filter(None, made))}. Content: {digest[:16]}")


@app.command("check")
def check(
    image: Annotated[str, typer.Argument(help="Image, or folder of `map build`; also of other people.")],
    engine: RunEngine = None,
    as_json: Json = False,
) -> None:
    """Check a package against the specification, and that its failures are seen. Exit code 1 when there are errors.

    Example: minivess map check vessels:1
    """
    from minivess.extras import require_extra

    require_extra("map", "The MAP")
    from minivess.map_package import check_package

    findings = check_package(image, engine=engine)
    rows = [asdict(finding) for finding in findings]
    errors = sum(finding.result == "error" for finding in findings)
    warnings = sum(finding.result == "warning" for finding in findings)
    text = f"{table(rows)}\n{len(findings)} checks: {errors} errors, {warnings} warnings"
    emit({"image": image, "errors": errors, "warnings": warnings, "findings": rows}, as_json=as_json, text=text)
    if errors:
        raise typer.Exit(1)
