"""``minivess predict``: segment volumes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from minivess.cli.output import Json, Spacing, UnitOption, answer, as_unit, table


def _show(bar: Any, share: float) -> None:
    bar.update(round(100 * share) - bar.n)


def predict(
    volumes: Annotated[list[Path], typer.Argument(help="Volumes or folders of slices.")],
    bundle: Annotated[Path, typer.Option(help="A trained bundle.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, probabilities, uncertainties and pictures.")],
    spacing: Spacing = None,
    unit: UnitOption = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    as_json: Json = False,
) -> None:
    """Segment volumes; each gives a mask, a probability, an uncertainty map (nats) and a picture.

    Example: minivess predict stack.tif --spacing 0.994 0.994 5 --unit um --bundle runs/model --out runs/predictions
    """
    import time

    from tqdm import tqdm

    from minivess.errors import InputError
    from minivess.models import load_bundle
    from minivess.pictures import heat, overlay, projection, save_png, side_by_side
    from minivess.uncertainty import expected_errors_per_predicted_voxel
    from minivess.volume import read_volume, write_volume
    from minivess.volume.io import stem_of

    names = [stem_of(path) for path in volumes]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"Several volumes are called {doubled[0]}, and would overwrite each other in {out}. Predict them apart.")
    segmenter = load_bundle(bundle, device=device)
    rows = []
    for path, name in zip(volumes, names, strict=True):
        start = time.monotonic()
        volume = read_volume(path, spacing=spacing, unit=as_unit(unit))
        with tqdm(total=100, desc=name, unit="%", disable=as_json, leave=False) as bar:
            prediction = segmenter.predict(volume, progress=partial(_show, bar))
        mask = prediction.mask
        write_volume(mask, out / f"{name}_mask.nii.gz")
        write_volume(prediction.probability, out / f"{name}_probability.nii.gz")
        write_volume(prediction.uncertainty, out / f"{name}_uncertainty.nii.gz")
        picture = projection(volume)
        save_png(side_by_side(overlay(picture, mask.array), heat(prediction.uncertainty)), out / f"{name}.png")
        rows.append(
            {
                "name": name,
                "vessel_share": float(mask.array.mean()),
                "expected_errors_per_predicted_voxel": expected_errors_per_predicted_voxel(
                    prediction.probability.array, prediction.threshold
                ),
                "seconds": round(time.monotonic() - start, 1),
            }
        )
    content = {"model": segmenter.model.to_json(), "out": str(out), "volumes": rows}
    answer(content, as_json=as_json, text=f"{table(rows)}\nWritten to {out}")
