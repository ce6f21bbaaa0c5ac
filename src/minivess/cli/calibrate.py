"""``minivess calibrate``: calibrate probability zones by conformal risk control."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit


def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    bundle: Annotated[Path, typer.Option(help="Trained bundle; the zones are stored next to its weights.")],
    section: Annotated[str, typer.Option(help="validation or test: cases that the model was not trained on.")] = "validation",
    alpha: Annotated[float, typer.Option(help="Mean fraction of vessel that the background zone may contain.")] = 0.1,
    loss: Annotated[str, typer.Option(help="Measure of the fraction: voxels, or length of the centre-line.")] = "voxels",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    as_json: Json = False,
) -> None:
    """Calibrate the zones background, ambiguous and vessel by conformal risk control, for the review queue.

    An alpha of 0.1 needs at least 9 subjects, 0.05 needs 19.

    Example: minivess calibrate runs/data --bundle runs/model --section validation --alpha 0.1
    """
    from tqdm import tqdm

    from minivess.errors import InputError, UsageError
    from minivess.evaluate import refuse_sealed
    from minivess.models import load_bundle
    from minivess.store import system_user
    from minivess.train import load_pair, read_dataset
    from minivess.uncertainty import calibration

    if section not in ("validation", "test"):
        raise UsageError(f"--section {section}: allowed are validation and test; the model was trained on the others.")
    if loss not in calibration.LOSSES:
        raise UsageError(f"--loss {loss}: allowed are {', '.join(calibration.LOSSES)}.")
    cases = read_dataset(dataset)[section]
    if not cases:
        raise InputError(f"{dataset} has no case in section {section}. Split the data set again: minivess data make --help.")
    refuse_sealed(dataset, [case.to_item() for case in cases], purpose="calibration", actor=system_user())
    segmenter = load_bundle(bundle, device=device)
    pairs = (
        (segmenter.predict(image), label.array > 0, case.subject)
        for case in tqdm(cases, desc="calibrate", unit="case", disable=as_json)
        for image, label in [load_pair(case.to_item())]
    )
    zones = calibration.calibrate(pairs, alpha, loss=loss)
    path = calibration.write_zones(bundle, zones, segmenter.model.weights_sha256)
    text = f"{zones.statement()}\nBackground up to {zones.lower:.4f}, vessel from {zones.upper:.2f}, ambiguous between. {path}"
    emit({**asdict(zones), "sentence": zones.statement(), "file": str(path)}, as_json=as_json, text=text)
