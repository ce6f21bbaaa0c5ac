"""``minivess evaluate``: compute the scores of a bundle and of a baseline on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit, table


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    bundle: Annotated[Path, typer.Option(help="Trained bundle.")],
    section: Annotated[str, typer.Option(help="training, validation or test.")] = "test",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    as_json: Json = False,
) -> None:
    """Compute the scores of a bundle's predictions and of Otsu's threshold.

    Example: minivess evaluate runs/data --bundle runs/model --section validation
    """
    from skimage.filters import threshold_otsu
    from tqdm import tqdm

    from minivess.datasets.dataset import SECTIONS
    from minivess.errors import InputError, UsageError
    from minivess.metrics import THINNING, compare_masks
    from minivess.models import load_bundle
    from minivess.train import load_pair, read_dataset

    if section not in SECTIONS:
        raise UsageError(f"--section {section}: allowed are {', '.join(SECTIONS)}.")
    cases = read_dataset(dataset)[section]
    if not cases:
        raise InputError(f"{dataset} has no case in section {section}. Split the data set again: minivess data make --help.")
    segmenter = load_bundle(bundle, device=device)
    rows = []
    for case in tqdm(cases, desc="evaluate", unit="case", disable=as_json):
        image, label = load_pair(case.to_item())
        otsu = image.array > threshold_otsu(image.array)
        for name, mask in (("model", segmenter.predict(image).mask.array), ("Otsu", otsu)):
            scores = compare_masks(label.array, mask, image.spacing_um)
            rows.append({"case": case.name, "subject": case.subject, "method": name, **scores.to_json()})
    content = {"model": segmenter.model.to_json(), "section": section, "thinning": THINNING, "scores": rows}
    emit(content, as_json=as_json, text=f"{table(rows)}\nclDice by {THINNING}")
