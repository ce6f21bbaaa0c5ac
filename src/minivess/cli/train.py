"""``minivess train``: train a bundle on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from minivess.cli.output import Json, emit


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the trained bundle; the training run is in OUT/runs/train.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle to train.", show_default="segresnet")] = None,
    preset: Annotated[str, typer.Option(help="tiny (minutes on two CPU cores) or full.")] = "tiny",
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs.", show_default="depends on the preset")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights (.safetensors) to start with.")] = None,
    model: Annotated[
        Path | None,
        typer.Option("--from", help="Trained bundle to train further; it is kept if it would forget."),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Intensity scaling for two_photon, light_sheet, mr_angiography or ct_angiography; not with --from.",
            show_default="two_photon",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    sealed: Annotated[
        Path | None, typer.Option(help="Folder of a sealed test set.", show_default="DATASET/sealed_test, if it exists")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted training.")] = False,
    as_json: Json = False,
) -> None:
    """Train a bundle and show the progress; --resume continues an interrupted training.

    Example: minivess train runs/data --out runs/model --preset tiny

    Example: minivess train runs/new_data --from runs/model --out runs/better_model
    """
    from minivess.datasets.dvc import check_dataset_pin
    from minivess.errors import InputError
    from minivess.evaluate import find_sealed
    from minivess.models import weights_path
    from minivess.track import enqueue_training
    from minivess.train import read_dataset, train_and_judge
    from minivess.uncertainty.calibration import background_limit

    run = out / "runs" / "train"
    if model is not None and not (init is None and bundle is None and modality is None):
        raise InputError("--from names bundle, weights and modality. Remove --init, --bundle and --modality.")
    _check_run(run, resume=resume)
    pinned, sections = check_dataset_pin(dataset), read_dataset(dataset)
    _prepare(out, bundle, model, modality or "two_photon", resume=resume)
    overrides: dict[str, Any] = {"seed": seed, "notes": {"dataset": dataset.name, "preset": preset}}
    if pinned:
        overrides["notes"]["dataset_dvc"] = pinned
    if epochs is not None:
        overrides["epochs"] = epochs
    result, promotion = train_and_judge(
        out,
        new=sections["training"],
        judged=sections["validation"],
        output=run,
        preset=preset,
        published=model is not None,
        init_weights=init,
        overrides=overrides,
        sealed=sealed or find_sealed(dataset),
        background_below=background_limit(out),
    )
    enqueue_training(
        out,
        weights=result.weights,
        published=promotion.promoted,
        run=run,
        cases={section: rows for section, rows in sections.items() if section != "test"},
        params={**overrides.pop("notes"), **overrides, "from": model or init or ""},
        seconds=result.seconds,
    )
    held_out = "held-out" if result.held_out else "training (no validation section)"
    scores = f"Dice {promotion.scores.dice:.3f}, clDice {promotion.scores.cldice:.3f} on the {held_out} cases"
    text = (
        f"Trained in {result.seconds:.0f} s: {scores}.\n"
        f"Gate: {promotion.state}.\n"
        f"Bundle: {out} (weights {weights_path(out).name})\nNext: minivess predict VOLUME --bundle {out} --out runs/predictions"
    )
    emit({"bundle": str(out), **result.to_json(), "gate": promotion.to_json()}, as_json=as_json, text=text)


def _check_run(run: Path, *, resume: bool) -> None:
    from minivess.errors import InputError

    if run.exists() and not resume:
        raise InputError(f"{run} already contains a training. Continue it: --resume. Or choose a new folder: --out.")
    if resume and not run.exists():
        raise InputError(f"{run} contains no training to resume. Remove --resume.")


def _prepare(out: Path, bundle: Path | None, model: Path | None, modality: str, *, resume: bool) -> None:
    """Copy the bundle that is trained; of a trained one also its weights, which the new ones must beat."""
    from minivess.errors import InputError
    from minivess.models import weights_path
    from minivess.paths import file_sha256, resource_path
    from minivess.train import copy_bundle, publish, set_modality

    copy_bundle(model or bundle or resource_path("bundles/segresnet"), out)
    if model is None:
        set_modality(out, modality)
    elif not resume:
        publish(weights_path(model), out)
    elif weights_path(model).is_file() and file_sha256(weights_path(model)) != file_sha256(weights_path(out)):
        raise InputError(f"The training in {out} is done and published. Train its model further: --from {out} --out FOLDER.")
