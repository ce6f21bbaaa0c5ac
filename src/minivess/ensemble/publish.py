"""Publish merged weights, if the gate of :mod:`minivess.evaluate` lets them pass."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from minivess.datasets import TrainingCase, read_dataset
from minivess.ensemble.greedy_soup import choose_ingredients
from minivess.ensemble.merge import METHODS, merge_weights
from minivess.errors import InputError, UsageError
from minivess.evaluate.anchors import synthetic_anchors
from minivess.evaluate.gate_scores import score_model
from minivess.evaluate.learned import refuse_learned
from minivess.evaluate.promotion import Promotion, choose_model
from minivess.evaluate.sealed import refuse_sealed
from minivess.evaluate.splits import SubjectHistory
from minivess.models import check_bundle, load_bundle, read_metadata, weights_path
from minivess.store import system_user
from minivess.store.actor import current_actor
from minivess.train.publishing import publish, published_digest
from minivess.train.retrain import read_cases

#: Method: the mean of those weights that make it better on the cases that judge.
GREEDY = "greedy"


def merge_and_judge(
    files: Sequence[Path],
    bundle: Path,
    data: Path,
    *,
    method: str = "mean",
    start: Path | None = None,
    density: float = 0.5,
    seed: int = 0,
) -> Promotion:
    """Merge weights, compare the result with the bundle's model, and publish it when it is better and forgets nothing.

    Args:
        files: At least two weights files of the bundle's network, or trained bundles of it.
        bundle: The bundle's folder.
        data: A data set; its validation cases judge. With :data:`GREEDY` those of one half of their subjects choose, and those of
            the other judge.
        method: Of :func:`minivess.ensemble.merge_weights`, or :data:`GREEDY`.
        start: Weights that all files were trained from, for ``ties`` and ``dare``.
        density: Share of the changes that these two keep.
        seed: Seed of ``dare``.

    Returns:
        The decision of the gate.

    Raises:
        BundleError: When the folder is no bundle.
        InputError: When the data set has no validation case (for :data:`GREEDY`: of two subjects), one of the files has learned
            it, or a setting is not allowed.
        UsageError: When the method is unknown, or there are not two files.
        ConflictError: When another model was published meanwhile; nothing is published then.
        LockoutError: When a case belongs to the sealed test set beside the data set.
        WeightsError: When the files do not fit each other or the bundle.
    """
    check_bundle(bundle)
    if method not in (*METHODS, GREEDY):
        raise UsageError(f"Unknown method {method!r}. Allowed: {', '.join((*METHODS, GREEDY))}.")
    if len(files) < 2:
        raise UsageError(f"A merge takes two weights files or more. Got {len(files)}.")
    files = [weights_path(file) if (file / "configs").is_dir() else file for file in files]
    cases = read_dataset(data)["validation"]
    if not cases:
        raise InputError(f"{data} has no validation cases to judge on. Make it with `minivess data make --validation`.")
    refuse_sealed(data, [case.to_item() for case in cases], purpose="merging", actor=current_actor.get() or system_user())
    for file in (*files, *filter(None, [start])):
        history = SubjectHistory.from_metadata(read_metadata(file))
        refuse_learned(cases, history, model=str(file), advice="Judge on subjects that none of them has learned.")
    choosing, judging = _halves(cases) if method == GREEDY else ([], cases)
    digest = published_digest(bundle)
    published = load_bundle(bundle) if digest else None
    anchors = synthetic_anchors(published.capabilities.modality) if published is not None else []
    with tempfile.TemporaryDirectory(dir=bundle) as folder:
        target, name = Path(folder) / "model.safetensors", f"{method} of {len(files)}"
        if choosing:
            chosen = _chosen(files, bundle, choosing, Path(folder))
            merged = merge_weights(chosen, target) if len(chosen) > 1 else chosen[0]
            name = f"mean of {len(chosen)} of {len(files)}, chosen one by one"
        else:
            merged = merge_weights(files, target, method=method, start=start, density=density, seed=seed)
        candidate = {name: lambda: load_bundle(bundle, weights=merged)}
        promotion = choose_model(candidate, published, lambda: read_cases(judging), anchors)
        if promotion.promoted:
            publish(merged, bundle, instead_of=digest)
    return promotion


def _chosen(files: Sequence[Path], bundle: Path, cases: Sequence[TrainingCase], folder: Path) -> list[Path]:
    """Return the files whose mean is best on some cases."""

    def overlap(weights: Path) -> float:
        return score_model(load_bundle(bundle, weights=weights), read_cases(cases)).overlap

    return choose_ingredients(files, overlap, folder)


def _halves(cases: Sequence[TrainingCase]) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Divide cases by subject: a soup would look better than it is on the cases that chose its ingredients."""
    subjects = sorted({case.subject for case in cases}, key=lambda subject: sha256(subject.encode()).hexdigest())
    if len(subjects) < 2:
        raise InputError(
            "The validation cases are of one subject. The method greedy chooses on one half of the subjects and judges on the "
            "other: name two or more with `minivess data make --validation`, or merge by mean."
        )
    first = set(subjects[::2])
    return [case for case in cases if case.subject in first], [case for case in cases if case.subject not in first]
