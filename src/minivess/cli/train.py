"""``minivess train``: train a bundle on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from minivess.cli.output import Json, answer


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the trained bundle; the run lies in OUT/runs/train.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle to train.", show_default="segresnet")] = None,
    preset: Annotated[str, typer.Option(help="tiny (minutes on two CPU cores) or full.")] = "tiny",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs.", show_default="the preset's")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights (.safetensors) to start from.")] = None,
    modality: Annotated[
        str, typer.Option(help="How intensities are scaled: two_photon, light_sheet, mr_angiography or ct_angiography.")
    ] = "two_photon",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    sealed: Annotated[
        Path | None, typer.Option(help="Folder of a sealed test set.", show_default="DATASET/sealed_test where it is")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was cut off.")] = False,
    as_json: Json = False,
) -> None:
    """Train a bundle; progress is shown, and a run that was cut off goes on with --resume.

    Example: minivess train runs/data --out runs/model --preset tiny
    """
    from minivess.errors import InputError
    from minivess.evaluate.sealed import FOLDER
    from minivess.paths import door
    from minivess.train import copy_bundle, publish, read_dataset, set_modality, train_bundle

    run = out / "runs" / "train"
    if run.exists() and not resume:
        raise InputError(f"{run} holds a training already. Go on with it: --resume. Or name a new folder: --out.")
    if resume and not run.exists():
        raise InputError(f"There is no training in {run} to go on with. Leave out --resume.")
    sections = read_dataset(dataset)
    beside = (dataset if dataset.is_dir() else dataset.parent) / FOLDER
    copy_bundle(bundle or door("bundles/segresnet"), out)
    set_modality(out, modality)
    overrides: dict[str, Any] = {"seed": seed, "notes": {"dataset": dataset.name, "preset": preset}}
    if epochs is not None:
        overrides["epochs"] = epochs
    result = train_bundle(
        out,
        training=sections["training"],
        validation=sections["validation"],
        output=run,
        preset=preset,
        init_weights=init,
        overrides=overrides,
        sealed=sealed or (beside if beside.is_dir() else None),
    )
    weights = publish(result.weights, out)
    held_out = "held-out" if result.held_out else "training (none was held out)"
    text = (
        f"Trained in {result.seconds:.0f} s: Dice {result.validation_dice:.3f} on the {held_out} cases.\n"
        f"Bundle: {out} (weights {weights.name})\nNext: minivess predict VOLUME --bundle {out} --out runs/predictions"
    )
    answer({"bundle": str(out), **result.to_json()}, as_json=as_json, text=text)
