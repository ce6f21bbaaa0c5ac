"""``minivess measure``: the vessels of masks in numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from minivess.cli.output import Json, Spacing, UnitOption, as_unit, emit, table


def measure(
    masks: Annotated[list[Path], typer.Argument(help="Masks: 0 is background, any one other value is vessel.")],
    out: Annotated[Path | None, typer.Option(help="CSV file to write, for a spreadsheet.", show_default="none")] = None,
    spacing: Spacing = None,
    unit: UnitOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file --out.")] = False,
    as_json: Json = False,
) -> None:
    """Measure the vessels of masks: volume, share, length, density, mean diameter, branch points, pieces, length by calibre.

    Diameters are to the centre of the next background voxel: up to a voxel too large, and at least two voxels.

    Example: minivess measure runs/predictions/*_mask.nii.gz --out vessels.csv
    """
    import csv
    import io
    import sys

    from tqdm import tqdm

    from minivess.errors import MinivessError, OutputError, UsageError
    from minivess.paths import atomic_file

    if out is not None and out.suffix.lower() != ".csv":
        raise UsageError(f"--out {out}: a table is written as .csv, which spreadsheets open. Give it that suffix.")
    if out is not None and out.exists() and not replace:
        raise OutputError(f"{out} exists. Nothing was measured. Choose another --out, or replace it: --replace.")
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for path in tqdm(masks, desc="masks", unit="mask", disable=as_json, leave=False):
        try:
            rows.append(_measured(path, spacing, unit))
        except MinivessError as error:
            if len(masks) == 1:
                raise
            failed[path.name] = str(error)
            tqdm.write(f"not measured: {path.name}: {error}", file=sys.stderr)
    if out is not None and rows:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        with atomic_file(out) as temporary:
            temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))  # names of files need not be text
    lines = [table(rows), f"{len(rows)} of {len(masks)} masks were measured.", *([f"Written: {out}"] if out and rows else [])]
    emit({"masks": rows, "failed": failed}, as_json=as_json, text="\n".join(lines))
    if failed:
        raise typer.Exit(1)


def _measured(path: Path, spacing: tuple[float, float, float] | None, unit: str | None) -> dict[str, Any]:
    from minivess.metrics.calibre import CLASSES_UM, length_by_calibre
    from minivess.metrics.masks import as_mask
    from minivess.metrics.morphology import measure_vessels
    from minivess.volume import read_volume

    volume = read_volume(path, spacing=spacing, unit=as_unit(unit))
    mask = as_mask(volume.array, path.name)
    found = measure_vessels(mask, volume.spacing_um)
    classes = {scores.calibre: scores.reference_um / 1000 for scores in length_by_calibre(mask, mask, volume.spacing_um)}
    imaged_mm3 = mask.size * math.prod(volume.spacing_um) / 1e9
    return {
        "name": path.name or path.resolve().name,
        "volume_mm3": found.volume_mm3,
        "vessel_share": float(mask.mean()),
        "length_mm": found.length_mm,
        "length_density_mm_per_mm3": found.length_mm / imaged_mm3,
        "mean_diameter_um": 1000 * found.mean_diameter_mm,
        "branch_points": found.branch_points,
        "components": found.components,
        **{f"length_{name}_mm": classes[name] for name in CLASSES_UM},
    }
