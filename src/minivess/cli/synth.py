"""``minivess synth``: generate synthetic volumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from minivess.cli.output import Json, check_out_folder, emit, table

if TYPE_CHECKING:
    from minivess.synth import Kind

#: In the folder while volumes are made: the options, and the rows of those that are there.
_UNFINISHED = ".synth.json"
app = typer.Typer(no_args_is_help=True, help="Generate synthetic vessel volumes with known ground truth.")


@app.callback()
def _noun() -> None:
    """Require the verb, although there is only one."""


@app.command("make")
def make(
    out: Annotated[Path, typer.Argument(help="Folder of the data set: images/, labels/, truth/, dataset.json.")],
    kind: Annotated[
        list[str] | None, typer.Option(help="capillary, large, tof, randomised or cta; repeatable.", show_default="capillary")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of volumes.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first volume.")] = 0,
    shape: Annotated[
        tuple[int, int, int] | None, typer.Option(help="Voxels along x y z.", show_default="depends on the kind")
    ] = None,
    suffix: Annotated[str, typer.Option(help="File format: .nii.gz, .nrrd, .mha, .tif or .ome.tif.")] = ".nii.gz",
    dicom: Annotated[bool, typer.Option("--dicom", help="Also write each image as a DICOM series: dicom/NAME/.")] = False,
    as_json: Json = False,
) -> None:
    """Generate COUNT volumes; equal seeds give equal voxels. The same command goes on with one that was interrupted.

    Example: minivess synth make runs/data --kind capillary --kind large --count 6
    """
    from tqdm import tqdm

    from minivess.datasets import make_dataset
    from minivess.errors import UsageError
    from minivess.paths import write_json
    from minivess.synth import KINDS

    kinds = kind or ["capillary"]
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise UsageError(f"--kind {unknown[0]}: allowed are {', '.join(KINDS)}.")
    settings = {"kind": kinds, "seed": seed, "shape": shape and list(shape), "suffix": suffix, "dicom": dicom}
    rows = _made_before(out, settings, count)
    with tqdm(total=count, initial=len(rows), desc="synth", unit="volume", disable=as_json) as bar:
        for index in range(len(rows), count):
            rows.append(_make_one(out, KINDS[KINDS.index(kinds[index % len(kinds)])], seed + index, shape, suffix, dicom=dicom))
            write_json(out / _UNFINISHED, {"settings": settings, "volumes": rows})
            bar.update()
    file = make_dataset(out, validation=[str(rows[-1]["name"])] if count > 1 else [])
    (out / _UNFINISHED).unlink()
    emit(
        {"dataset": str(file), "volumes": rows}, as_json=as_json, text=f"{table(rows)}\nData set: {file}. Images: {out}/pictures"
    )


def _made_before(out: Path, settings: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the volumes that an interrupted command has made in this folder; none in a new one."""
    import json

    from minivess.errors import ConflictError
    from minivess.paths import write_json

    check_out_folder(out)
    file = out / _UNFINISHED
    existing = [name for name in ("dataset.json", "images", "labels") if (out / name).exists()]
    if existing and file.is_file():
        about = json.loads(file.read_text(encoding="utf-8"))
        if about["settings"] == settings and len(about["volumes"]) <= count:
            return list(about["volumes"])
        raise ConflictError(
            f"{out} holds {len(about['volumes'])} volumes of an interrupted command with other options. Nothing was changed. "
            "Repeat that command, or choose a new folder."
        )
    if existing:
        raise ConflictError(f"{out / existing[0]} exists. Nothing was changed. Choose a new folder.")
    write_json(file, {"settings": settings, "volumes": []})
    return []


def _make_one(
    out: Path, kind: Kind, seed: int, shape: tuple[int, int, int] | None, suffix: str, *, dicom: bool
) -> dict[str, Any]:
    """Write one volume with its truth and picture; return its row of the table."""
    import json
    import shutil

    from minivess.dicom import write_series
    from minivess.paths import atomic_file
    from minivess.pictures import overlay, projection, save_png, side_by_side
    from minivess.synth import make_sample
    from minivess.volume import write_volume

    name = f"{kind}_{seed:04d}"
    sample = make_sample(kind, seed, shape=shape)
    for folder, volume in (("images", sample.image), ("labels", sample.mask), ("truth/centrelines", sample.centreline)):
        write_volume(volume, out / folder / f"{name}{suffix}")
    write_volume(sample.radius, out / "truth" / "radii" / f"{name}.nii.gz")
    with atomic_file(out / "truth" / "graphs" / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(sample.graph.to_json()))
    if dicom:
        shutil.rmtree(out / "dicom" / name, ignore_errors=True)  # of a command that was interrupted
        modality: Literal["MR", "CT"] = "CT" if kind == "cta" else "MR"
        write_series(sample.image, out / "dicom" / name, name=name, patient_id=name, modality=modality)
    picture = projection(sample.image)
    save_png(side_by_side(picture, overlay(picture, sample.mask.array)), out / "pictures" / f"{name}.png")
    b0, b1 = sample.graph.betti
    share, length_mm = float(sample.mask.array.mean()), sample.graph.length / (1000 if sample.image.unit == "um" else 1)
    return {"name": name, "vessel_share": share, "length_mm": length_mm, "components": b0, "loops": b1}
