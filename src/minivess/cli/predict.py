"""``minivess predict``: segment volumes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Channel, DepthAxis, Json, Spacing, TimePoint, UnitOption, as_unit, check_out_folder, emit, table

if TYPE_CHECKING:
    from minivess.models import Prediction, Segmenter
    from minivess.uncertainty.quality import QualityModel
    from minivess.volume import Volume


#: Ends of the names of a volume's results: mask, probability, uncertainty, image.
RESULTS = ("_mask.nii.gz", "_probability.nii.gz", "_uncertainty.nii.gz", ".png")


def _show_progress(bar: Any, fraction: float) -> None:
    bar.update(round(100 * fraction) - bar.n)


def predict(
    volumes: Annotated[list[Path], typer.Argument(help="Volumes or folders of slices.")],
    bundle: Annotated[Path, typer.Option(help="Trained bundle.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, probabilities, uncertainty maps and images.")],
    spacing: Spacing = None,
    unit: UnitOption = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    channel: Channel = None,
    time: TimePoint = None,
    depth_axis: DepthAxis = "Z",
    replace: Annotated[bool, typer.Option("--replace", help="Replace files of the same names in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Segment volumes; write a mask, a probability map, an uncertainty map (nats) and a PNG image for each.

    A volume that cannot be read or segmented does not stop the others; it is named in the end, and the exit code is 1. The column
    expected_errors_per_predicted_voxel says how far to trust a mask: up to 0.5 a review pays, above it train the model first.

    Where `minivess calibrate` has fitted it, each volume gets a quality class: usable, needs review, retrain, or those of them
    that cannot be excluded.

    Example: minivess predict stack.tif --spacing 0.994 0.994 5 --unit um --bundle runs/model --out runs/predictions
    """
    from time import monotonic

    from minivess.errors import BundleError, InputError, MinivessError, WeightsError
    from minivess.models import load_bundle
    from minivess.uncertainty.quality import read_quality
    from minivess.volume import read_volume
    from minivess.volume.io import stem_of
    from minivess.volume.planes import Planes

    check_out_folder(out)
    names = [stem_of(path) for path in volumes]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InputError(
            f"Several volumes have the name {duplicates[0]}; their results in {out} would collide. Predict them separately."
        )
    planes = Planes(channel, time, depth_axis)
    _check_results(out, names, replace=replace)
    segmenter = load_bundle(bundle, device=device)
    quality = read_quality(bundle, segmenter.model.weights_sha256)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for path, name in zip(volumes, names, strict=True):
        start = monotonic()
        try:
            volume = read_volume(path, spacing=spacing, unit=as_unit(unit), planes=planes)
            prediction = _segment(segmenter, volume, name, show_progress=not as_json)
        except MinivessError as error:
            if len(volumes) == 1 or isinstance(error, WeightsError | BundleError):
                raise
            failed[path.name] = str(error)  # the others are segmented
            typer.echo(f"not segmented: {path.name}: {error}", err=True)
            continue
        _write_result(out, name, volume, prediction)
        rows.append({"name": name, **_summary(prediction, quality), "seconds": round(monotonic() - start, 1)})
    content = {"model": segmenter.model.to_json(), "out": str(out), "volumes": rows, "failed": failed}
    text = f"{table(rows)}\nWritten to {out}: {len(rows)} of {len(volumes)} volumes."
    emit(content, as_json=as_json, text=text)
    if failed:
        raise typer.Exit(1)


def _segment(segmenter: Segmenter, volume: Volume, name: str, *, show_progress: bool) -> Prediction:
    """Segment a volume with a progress bar; remark on a voxel size that is unusual for the model."""
    from tqdm import tqdm

    from minivess.models.usual_spacing import spacing_remark

    if remark := spacing_remark(volume.spacing_um, segmenter.capabilities.modality):
        typer.echo(f"{name}: {remark}", err=True)
    with tqdm(total=100, desc=name, unit="%", disable=not show_progress, leave=False) as bar:
        return segmenter.predict(volume, progress=partial(_show_progress, bar))


def _summary(prediction: Prediction, quality: QualityModel | None) -> dict[str, Any]:
    """Return how far to trust a mask, as columns of the table."""
    from minivess.uncertainty import expected_errors_per_predicted_voxel
    from minivess.uncertainty.case_features import case_features

    found = quality.estimate(case_features(prediction)) if quality else None
    errors = expected_errors_per_predicted_voxel(prediction.probability.array, prediction.threshold)
    return {
        "vessel_share": float(prediction.mask.array.mean()),
        "expected_errors_per_predicted_voxel": errors,
        "quality": str(found) if found else None,
        "expected_cldice": round(found.cldice, 3) if found else None,
    }


def _check_results(out: Path, names: list[str], *, replace: bool) -> None:
    """Refuse to write over files, which may be masks that somebody has drawn."""
    from minivess.errors import OutputError

    existing = [file.name for name in names for suffix in RESULTS if (file := out / f"{name}{suffix}").exists()]
    if existing and not replace:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise OutputError(f"{out / existing[0]}{more} exists. Nothing was written. Choose another --out, or replace: --replace.")


def _write_result(out: Path, name: str, volume: Volume, prediction: Prediction) -> None:
    """Write mask, probability map, uncertainty map and PNG image of one volume."""
    from minivess.pictures import heat, overlay, projection, save_png, side_by_side
    from minivess.volume import write_volume

    for suffix, result in zip(RESULTS[:3], (prediction.mask, prediction.probability, prediction.uncertainty), strict=True):
        write_volume(result, out / f"{name}{suffix}")
    picture = overlay(projection(volume), prediction.mask.array)
    save_png(side_by_side(picture, heat(prediction.uncertainty)), out / f"{name}{RESULTS[-1]}")
