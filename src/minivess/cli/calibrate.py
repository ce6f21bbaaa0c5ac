"""``minivess calibrate``: calibrate probability zones by conformal risk control, and fit the quality class of cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Json, emit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minivess.models import Prediction


def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json.")],
    bundle: Annotated[Path, typer.Option(help="Trained bundle; the zones are stored next to its weights.")],
    section: Annotated[str, typer.Option(help="validation or test: cases that the model was not trained on.")] = "validation",
    alpha: Annotated[float, typer.Option(help="Mean fraction of vessel that the background zone may contain.")] = 0.1,
    loss: Annotated[str, typer.Option(help="Measure of the fraction: voxels, or length of the centre-line.")] = "voxels",
    usable: Annotated[float, typer.Option(help="A case is usable from this clDice on.")] = 0.8,
    retrain: Annotated[float, typer.Option(help="Below this clDice a case needs a better model.")] = 0.6,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="GPU if there is one")] = None,
    as_json: Json = False,
) -> None:
    """Calibrate the zones background, ambiguous and vessel by conformal risk control, for the review queue.

    An alpha of 0.1 needs at least 9 subjects, 0.05 needs 19. With 10 subjects the quality class of other cases (usable, needs
    review, retrain) is fitted, too, which `minivess predict` then states.

    Example: minivess calibrate runs/data --bundle runs/model --section validation --alpha 0.1
    """
    from tqdm import tqdm

    from minivess.datasets import load_pair, read_dataset
    from minivess.datasets.dvc import check_dataset_pin
    from minivess.errors import InputError, UsageError
    from minivess.evaluate import history_of, refuse_learned, refuse_sealed
    from minivess.metrics import cldice
    from minivess.models import load_bundle
    from minivess.store import system_user
    from minivess.uncertainty import calibration
    from minivess.uncertainty.case_features import case_features
    from minivess.uncertainty.conformal import check_subjects

    if section not in ("validation", "test"):
        raise UsageError(f"--section {section}: allowed are validation and test; the model was trained on the others.")
    if loss not in calibration.LOSSES:
        raise UsageError(f"--loss {loss}: allowed are {', '.join(calibration.LOSSES)}.")
    if not 0 < retrain < usable < 1:
        raise UsageError(f"--retrain {retrain} --usable {usable}: 0 < retrain < usable < 1.")
    check_dataset_pin(dataset)
    cases = read_dataset(dataset)[section]
    if not cases:
        raise InputError(f"{dataset} has no case in section {section}. Split the data set again: minivess data make --help.")
    refuse_sealed(dataset, [case.to_item() for case in cases], purpose="calibration", actor=system_user())
    refuse_learned(
        cases, history_of(bundle), model=f"{bundle}", advice="Calibrate on others: --section test, or another data set."
    )
    check_subjects(len({case.subject for case in cases}), alpha)
    segmenter = load_bundle(bundle, device=device)
    features: list[dict[str, float]] = []
    scores: list[float] = []

    def predicted() -> Iterator[tuple[Prediction, NDArray[np.bool_], str]]:
        for case in tqdm(cases, desc="calibrate", unit="case", disable=as_json):
            image, label = load_pair(case.to_item())
            prediction, reference = segmenter.predict(image), label.array > 0
            features.append(case_features(prediction))
            scores.append(cldice(reference, prediction.mask.array > 0))
            yield prediction, reference, case.subject

    zones = calibration.calibrate(predicted(), alpha, loss=loss)
    digest = segmenter.model.weights_sha256
    path = calibration.write_zones(bundle, zones, digest)
    limits = f"Background up to {zones.lower:.4f}, vessel from about {zones.upper:.2f} (as in the mask), ambiguous between."
    text = f"{zones.statement()}\n{limits} {path}"
    said, words = _fit_quality(bundle, digest, features, scores, [case.subject for case in cases], usable, retrain)
    content = {**asdict(zones), "sentence": zones.statement(), "file": str(path), "quality": said}
    emit(content, as_json=as_json, text=f"{text}\n{words}")


def _fit_quality(
    bundle: Path,
    weights_sha256: str,
    features: list[dict[str, float]],
    cldice: list[float],
    subjects: list[str],
    usable: float,
    retrain: float,
) -> tuple[dict[str, Any] | None, str]:
    """Fit and write the quality class of cases; return its error (None where it cannot be fitted), and what to say."""
    from minivess.errors import InputError
    from minivess.uncertainty import quality

    table = {name: [row[name] for row in features] for name in features[0]}
    try:
        model = quality.QualityModel(table, cldice, subjects, usable, retrain)
        quality.write_quality(bundle, model, weights_sha256)
    except InputError as error:
        quality.remove_quality(bundle)
        return None, f"No quality class: {error}"
    said = {"subjects": len(set(model.subjects)), "mean_error_of_cldice": round(model.mean_error, 3)}
    return said, f"Quality class: fitted; mean error of the expected clDice on unseen subjects {model.mean_error:.2f}."
