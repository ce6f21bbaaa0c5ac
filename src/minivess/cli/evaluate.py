"""``minivess evaluate``: compute the scores of bundles and of a baseline on a data set, with a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Json, emit, table

if TYPE_CHECKING:
    from minivess.datasets.dataset import TrainingCase
    from minivess.evaluate import Look, SealedTestSet
    from minivess.models import Segmenter


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    bundle: Annotated[list[Path], typer.Option(help="Trained bundle; may be given more than once.")],
    section: Annotated[str, typer.Option(help="training, validation or test.")] = "test",
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.json, with pictures.", show_default="none")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a report that is there.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    as_json: Json = False,
) -> None:
    """Compute the scores of bundles' predictions and of Otsu's threshold.

    A sealed test section is opened for one evaluation of one bundle, which somebody else approves: `minivess testset approve`.
    Its answers are rounded, and every look is counted.

    Example: minivess evaluate runs/data --bundle runs/model --section validation --report runs/report
    """
    from tqdm import tqdm

    from minivess.datasets import read_dataset
    from minivess.datasets.dataset import SECTIONS
    from minivess.datasets.dvc import check_dataset_pin
    from minivess.errors import InputError, UsageError
    from minivess.evaluate import report as reports
    from minivess.evaluate.case_results import evaluate_cases
    from minivess.evaluate.summary import summarise, with_few_pictures
    from minivess.models import load_bundle
    from minivess.models.bundle import inference_sha256
    from minivess.uncertainty.calibration import read_zones

    if section not in SECTIONS:
        raise UsageError(f"--section {section}: allowed are {', '.join(SECTIONS)}.")
    pinned = check_dataset_pin(dataset)
    cases = read_dataset(dataset)[section]
    if not cases:
        raise InputError(f"{dataset} has no case in section {section}. Split the data set again: minivess data make --help.")
    methods = {str(path): load_bundle(path, device=device) for path in dict.fromkeys(bundle)}
    names = {path: _name(path, methods) for path in methods}
    learned = _learned(cases, methods, names)
    if report is not None:
        reports.check_folder(report, replace=replace)
    opened = _open_sealed(dataset, cases, methods)
    zones = {names[path]: read_zones(Path(path), model.model.weights_sha256) for path, model in methods.items()}
    known = {name: zone for name, zone in zones.items() if zone is not None}
    limits = {name: float(zone.lower) for name, zone in known.items()}
    named = {names[path]: model for path, model in methods.items()}
    with tqdm(total=len(cases), desc="evaluate", unit="case", disable=as_json) as bar:
        evaluated = evaluate_cases(cases, named, background_below=limits, progress=lambda _: bar.update())
        results = with_few_pictures(evaluated, wanted=report is not None)
    alphas = {name: zone.alpha for name, zone in known.items()}
    models = {
        names[path]: {
            **model.model.to_json(),
            "inference_sha256": inference_sha256(Path(path)),
            "alpha": alphas.get(names[path]),
        }
        for path, model in methods.items()
    }
    content = {**summarise(results, models=models, section=section), "learned_subjects": learned}
    content["remarks"] = [_in_words(name, subjects) for name, subjects in learned.items()]
    if opened is not None:
        content = _as_told(content, *opened)
    if pinned:
        content["dataset_dvc"] = pinned
    emit(content, as_json=as_json, text=_text(content, report))  # first: what a look has told is never lost
    if report is not None:
        reports.write_report(report, content, results)


def _name(path: str, methods: Mapping[str, Segmenter]) -> str:
    """Return the name of a model in the report: that of its bundle, with its path where two have the same."""
    name = methods[path].model.bundle
    same = sum(model.model.bundle == name for model in methods.values())
    return name if same == 1 else f"{name} ({path})"


def _learned(cases: Sequence[TrainingCase], methods: Mapping[str, Segmenter], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the subjects of the cases that a model has learned, of each model that has."""
    from minivess.evaluate import history_of, learned_of

    found = {names[path]: learned_of(cases, history_of(Path(path))) for path in methods}
    return {name: subjects for name, subjects in found.items() if subjects}


def _in_words(name: str, subjects: Sequence[str]) -> str:
    some = f"{', '.join(subjects[:5])}{' ...' if len(subjects) > 5 else ''}"
    return f"{name} has learned {len(subjects)} of these subjects ({some}): its scores are not those of new subjects."


def _open_sealed(
    dataset: Path, cases: Sequence[TrainingCase], methods: Mapping[str, Segmenter]
) -> tuple[SealedTestSet, Look] | None:
    """Open the sealed test set when the cases belong to it.

    Raises:
        LockoutError: When nobody else has approved it, more than one model is evaluated at once, or not the whole test set.
    """
    from minivess.datasets import load_pair
    from minivess.errors import LockoutError
    from minivess.evaluate import SealedTestSet, find_sealed, open_look
    from minivess.store import system_user

    folder = find_sealed(dataset)
    if folder is None:
        return None
    sealed = SealedTestSet(folder)
    if not sealed.contains(case.to_item() for case in cases):
        return None
    if len(methods) != 1:
        raise LockoutError("One look at a sealed test set is for one model. Evaluate the bundles one by one.")
    sealed.check_whole(case.to_item() for case in cases)
    for case in cases:
        load_pair(case.to_item())  # a file that cannot be read costs no look
    (segmenter,) = methods.values()
    look = open_look(sealed, model=segmenter.model.bundle, weights_sha256=segmenter.model.weights_sha256, actor=system_user())
    return sealed, look


def _as_told(content: dict[str, Any], sealed: SealedTestSet, look: Look) -> dict[str, Any]:
    """Return what may be told of a sealed test set: rounded means by the ladder, nothing of single cases."""
    from minivess.evaluate import tell_scores
    from minivess.evaluate.summary import COMPARED

    (name,) = content["models"]
    intervals = {score: content["means"][name][score] for score in COMPARED}
    told = tell_scores(
        sealed,
        model=content["models"][name]["bundle"],
        means={score: interval["mean"] for score, interval in intervals.items()},
        errors={score: _known(interval["standard_error"]) for score, interval in intervals.items()},
        actor=look.opened_by,
    )
    kept = ("remarks", "section", "cases", "subjects", "models", "thinning", "minivess", "fingerprint")
    return {**{key: content[key] for key in kept}, "sealed": True, "look": look.sentence(), "scores_told": told}


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _text(content: dict[str, Any], report: Path | None) -> str:
    end = "".join(f"\n{remark}" for remark in content["remarks"])
    end += f"\nReport: {report / 'report.html'}" if report is not None else ""
    if content.get("sealed"):
        rows = [{"score": name, "told": value} for name, value in content["scores_told"].items()]
        return f"{content['look']}\n{table(rows)}{end}"
    columns = (
        "case",
        "subject",
        "method",
        "dsc",
        "cldice",
        "nsd",
        "hd95_um",
        "masd_um",
        "assd_um",
        "b0_error",
        "b1_error",
        "tolerance_um",
    )
    rows = [{column: row[column] for column in columns} for row in content["scores"]]
    return f"{table(rows)}\nclDice by {content['thinning']}{end}"
