"""``minivess synth``: generate synthetic volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from minivess.cli.output import Json, emit, table

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
    suffix: Annotated[str, typer.Option(help="File format: .nii.gz, .nrrd or .ome.tif.")] = ".nii.gz",
    dicom: Annotated[bool, typer.Option("--dicom", help="Also write each image as a DICOM series: dicom/NAME/.")] = False,
    as_json: Json = False,
) -> None:
    """Generate COUNT volumes; equal seeds give equal voxels.

    Example: minivess synth make runs/data --kind capillary --kind large --count 6
    """
    import json

    from tqdm import tqdm

    from minivess.datasets import make_dataset
    from minivess.dicom import write_series
    from minivess.errors import OutputError, UsageError
    from minivess.paths import atomic_file
    from minivess.pictures import overlay, projection, save_png, side_by_side
    from minivess.synth import KINDS, make_sample
    from minivess.volume import write_volume

    kinds = kind or ["capillary"]
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise UsageError(f"--kind {unknown[0]}: allowed are {', '.join(KINDS)}.")
    existing = [name for name in ("dataset.json", "images", "labels") if (out / name).exists()]
    if existing:
        raise OutputError(f"{out / existing[0]} exists. Nothing was changed. Choose a new folder.")
    rows = []
    for index in tqdm(range(count), desc="synth", unit="volume", disable=as_json):
        chosen = KINDS[KINDS.index(kinds[index % len(kinds)])]
        name = f"{chosen}_{seed + index:04d}"
        sample = make_sample(chosen, seed + index, shape=shape)
        for folder, volume in (("images", sample.image), ("labels", sample.mask), ("truth/centrelines", sample.centreline)):
            write_volume(volume, out / folder / f"{name}{suffix}")
        write_volume(sample.radius, out / "truth" / "radii" / f"{name}.nii.gz")
        with atomic_file(out / "truth" / "graphs" / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(sample.graph.to_json()))
        if dicom:
            modality: Literal["MR", "CT"] = "CT" if chosen == "cta" else "MR"
            write_series(sample.image, out / "dicom" / name, name=name, patient_id=name, modality=modality)
        picture = projection(sample.image)
        save_png(side_by_side(picture, overlay(picture, sample.mask.array)), out / "pictures" / f"{name}.png")
        b0, b1 = sample.graph.betti
        fraction = float(sample.mask.array.mean())
        rows.append({"name": name, "vessel_share": fraction, "length": sample.graph.length, "components": b0, "loops": b1})
    file = make_dataset(out, validation=[str(rows[-1]["name"])] if count > 1 else [])
    emit(
        {"dataset": str(file), "volumes": rows}, as_json=as_json, text=f"{table(rows)}\nData set: {file}. Images: {out}/pictures"
    )
