"""``minivess train``: train a bundle on a data set; several models by folds and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Json, emit
from minivess.cli.train_plan import (
    check_continued,
    check_options,
    check_start,
    hold_runs,
    make_splits,
    prepare_bundle,
    record_published,
    what_is_trained,
)

if TYPE_CHECKING:
    from minivess.cli.train_plan import Sections
    from minivess.ensemble.train_members import Fold, TrainedMember

#: Below this Dice a mask is more work to correct than to draw.
_USABLE_DICE = 0.5


def _advice(dice: float) -> str:
    """Return what to do about a poor model, as a line; nothing for another one."""
    if dice >= _USABLE_DICE:
        return ""
    finds = "finds no vessel of the masks" if dice == 0 else f"is poor (Dice {dice:.2f})"
    return f"This model {finds}: train it for longer (--epochs), or on more stacks, before anybody uses it.\n"


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
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training; the first one with --seeds.")] = 0,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Hold each subject out once: one model a fold, all as one ensemble in OUT/ensemble.",
            show_default="one model",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Models with other seeds, of each fold; all as one ensemble.")] = 1,
    tune: Annotated[
        int | None, typer.Option(min=2, help="Search the bundle's settings first, with this many trainings.", show_default="none")
    ] = None,
    sealed: Annotated[
        Path | None, typer.Option(help="Folder of a sealed test set.", show_default="DATASET/sealed_test, if it exists")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted training.")] = False,
    as_json: Json = False,
) -> None:
    """Train a bundle and show the progress; --resume continues an interrupted training.

    Example: minivess train runs/data --out runs/model --preset tiny

    Example: minivess train runs/new_data --from runs/model --out runs/better_model

    Example: minivess train runs/data --out runs/models --folds 5 --seeds 2 --tune 20
    """
    from minivess.datasets import read_dataset
    from minivess.datasets.dvc import check_dataset_pin
    from minivess.evaluate import find_sealed, refuse_sealed
    from minivess.paths import resource_path
    from minivess.store import system_user

    several, runs = folds is not None or seeds > 1, out / "runs"
    if model is not None:
        check_continued(alone=init is None and bundle is None and modality is None, one=not (several or tune))
    source = model or bundle or resource_path("bundles/segresnet")
    pinned, sections = check_dataset_pin(dataset), read_dataset(dataset)
    splits, own = make_splits(sections, folds), find_sealed(dataset)
    if sealed is not None and own is not None:  # both count
        cases = [case.to_item() for section in ("training", "validation") for case in sections[section]]
        refuse_sealed(dataset, cases, purpose="training", actor=system_user())
    check_options(source, preset, modality)
    check_start(init, model, splits, sections["test"])
    plan = {"seeds": [seed, seeds], "tune": tune, "preset": preset, "init": str(init or ""), "from": str(model or "")}
    if several or tune:  # one training may go on for longer than it was begun
        plan["epochs"] = epochs
    with hold_runs(runs, {**plan, **what_is_trained(splits, source, modality)}, resume=resume), _resumable():
        copy = prepare_bundle(runs / "bundle" if several else out, source, model, modality or "two_photon", resume=resume)
        notes = {"dataset": dataset.name, "preset": preset, **({"dataset_dvc": pinned} if pinned else {})}
        overrides: dict[str, Any] = {"seed": seed, "notes": notes, **({} if epochs is None else {"epochs": epochs})}
        common: dict[str, Any] = {"preset": preset, "init_weights": init, "sealed": sealed or own}
        if tune:
            overrides |= _tuned(copy, runs / "tune", tune, splits[0], overrides, common)
        if several:
            _train_several(copy, out, splits, range(seed, seed + seeds), overrides, common, as_json=as_json)
        else:
            _train_one(out, sections, model, overrides, common, as_json=as_json)


@contextmanager
def _resumable() -> Iterator[None]:
    """Name the command that goes on when the user stops what runs inside."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command with --resume goes on.", err=True)
        raise


def _tuned(
    bundle: Path, output: Path, trials: int, split: Fold, overrides: dict[str, Any], common: dict[str, Any]
) -> dict[str, Any]:
    """Search the settings of the bundle on one split; return the best ones."""
    from minivess.train import tune_settings

    training, held_out = split
    found = tune_settings(
        bundle, trials=trials, output=output, training=training, validation=held_out, overrides=overrides, **common
    )
    values = ", ".join(f"{name} {value:.3g}" for name, value in found.settings.items())
    scores = f"Dice {found.validation_dice:.3f} on the held-out cases, {found.stated_dice:.3f} with the stated ones"
    typer.echo(f"Best of {found.trials} settings ({found.ended_early} ended early): {values}; {scores}.", err=True)
    notes = {**overrides["notes"], "tuned": json.dumps(found.to_json())}
    return {**found.settings, "notes": notes}


def _train_several(
    source: Path,
    out: Path,
    splits: Sequence[Fold],
    seeds: Sequence[int],
    overrides: dict[str, Any],
    common: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from minivess.ensemble.train_members import train_members

    def track(member: TrainedMember) -> None:
        _track_member(member, out.name, overrides)

    trained = train_members(source, out, folds=splits, seeds=seeds, overrides=overrides, on_trained=track, **common)
    ensemble, count = trained.ensemble, len(trained.members)
    scores = "there is no held-out case: no score"
    if trained.scores:
        dice, cldice = trained.interval("dice"), trained.interval("cldice")
        chose = f", which also chose the {' and the '.join(trained.also_chose)}" if trained.also_chose else ""
        scores = f"Dice {dice}, clDice {cldice} over {dice.subjects} subjects, each of them held out{chose}"
    text = (
        f"Trained {count} models: {scores}. Each model's scores: {out / 'held_out.json'}\n"
        f"Ensemble: {ensemble}\nNext: minivess predict VOLUME --bundle {ensemble} --out runs/predictions"
    )
    emit(trained.to_json(), as_json=as_json, text=text)


def _track_member(member: TrainedMember, group: str, overrides: dict[str, Any]) -> None:
    """Leave one model of several for MLflow; it is not registered, since it is of use only among the others."""
    from minivess.track import enqueue_training

    training, held_out = member.fold
    means = {name: fmean(getattr(row, name) for row in member.scores) for name in ("dice", "cldice") if member.scores}
    settings = {key: value for key, value in overrides.items() if key != "notes"}
    enqueue_training(
        member.bundle,
        weights=member.result.weights,
        published=False,
        run=member.bundle / "runs" / "train",
        cases={"training": training, "validation": held_out},
        params={**overrides["notes"], **settings, "seed": member.seed},
        seconds=member.result.seconds,
        scores=means,
        group=group,
    )


def _train_one(
    out: Path,
    sections: Sections,
    model: Path | None,
    overrides: dict[str, Any],
    common: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from minivess.models import weights_path
    from minivess.track import enqueue_training
    from minivess.train import train_and_judge
    from minivess.uncertainty.calibration import background_limit

    run = out / "runs" / "train"
    result, promotion = train_and_judge(
        out,
        new=sections["training"],
        judged=sections["validation"],
        output=run,
        published=model is not None,
        overrides=overrides,
        background_below=background_limit(out),
        **common,
    )
    if promotion.promoted:
        record_published(out)
    settings = {key: value for key, value in overrides.items() if key != "notes"}
    enqueue_training(
        out,
        weights=result.weights,
        published=promotion.promoted,
        run=run,
        cases={section: rows for section, rows in sections.items() if section != "test"},
        params={**overrides["notes"], **settings, "from": model or common["init_weights"] or ""},
        seconds=result.seconds,
        scores={"dice": promotion.scores.dice, "cldice": promotion.scores.cldice} if result.held_out else {},
    )
    held_out = "held-out" if result.held_out else "training (no validation section)"
    scores = f"Dice {promotion.scores.dice:.3f}, clDice {promotion.scores.cldice:.3f} on the {held_out} cases"
    text = (
        f"Trained in {result.seconds:.0f} s: {scores}.\n"
        f"Gate: {promotion.state}.\n"
        f"{_advice(promotion.scores.dice)}"
        f"Bundle: {out} (weights {weights_path(out).name})\nNext: minivess predict VOLUME --bundle {out} --out runs/predictions"
    )
    emit({"bundle": str(out), **result.to_json(), "gate": promotion.to_json()}, as_json=as_json, text=text)
