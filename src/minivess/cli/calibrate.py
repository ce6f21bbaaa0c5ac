"""``minivess calibrate``: below which probability at most a stated share of vessel is lost, on average over new subjects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, answer


def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    bundle: Annotated[Path, typer.Option(help="A trained bundle; the zones are kept beside its weights.")],
    section: Annotated[str, typer.Option(help="validation or test: what the model has not learned from.")] = "validation",
    alpha: Annotated[float, typer.Option(help="Share of vessel that may be lost.")] = 0.1,
    loss: Annotated[str, typer.Option(help="What the share is of: voxels, or length of the centre-line.")] = "voxels",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    as_json: Json = False,
) -> None:
    """Calibrate the zones background, ambiguous and vessel by conformal risk control; the queue of places uses them.

    It takes 9 subjects for 10 %, 19 for 5 %.

    Example: minivess calibrate runs/data --bundle runs/model --section validation --alpha 0.1
    """
    from tqdm import tqdm

    from minivess.errors import InputError, UsageError
    from minivess.models import load_bundle
    from minivess.train import load_pair, read_dataset
    from minivess.uncertainty import calibration

    if section not in ("validation", "test"):
        raise UsageError(f"--section {section}: allowed are validation and test; the model has learned from the others.")
    if loss not in calibration.LOSSES:
        raise UsageError(f"--loss {loss}: allowed are {', '.join(calibration.LOSSES)}.")
    cases = read_dataset(dataset)[section]
    if not cases:
        raise InputError(f"{dataset} has no case for {section}. Split the data set again: minivess data make --help.")
    segmenter = load_bundle(bundle, device=device)
    pairs = (
        (segmenter.predict(image), label.array > 0, case.subject)
        for case in tqdm(cases, desc="calibrate", unit="case", disable=as_json)
        for image, label in [load_pair(case.to_item())]
    )
    zones = calibration.calibrate(pairs, alpha, loss=loss)
    path = calibration.write_zones(bundle, zones, segmenter.model.weights_sha256)
    text = f"{zones.sentence()}\nBackground up to {zones.lower:.4f}, vessel from {zones.upper:.2f}, ambiguous between. {path}"
    answer({**asdict(zones), "sentence": zones.sentence(), "file": str(path)}, as_json=as_json, text=text)
