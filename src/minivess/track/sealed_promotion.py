"""Promotion on the sealed test set: one look within its budget, and an answer without numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from minivess.datasets import load_pair, read_dataset
from minivess.errors import InputError, LockoutError
from minivess.evaluate import Look, SealedTestSet, find_sealed, history_of, open_look, refuse_learned
from minivess.evaluate.case_results import evaluate_cases
from minivess.evaluate.summary import summarise, with_few_pictures
from minivess.models import load_bundle
from minivess.track.limits import Limits
from minivess.track.registry import CHALLENGER, CHAMPION, Registry


def promote_on_sealed(
    registry: Registry, dataset: Path, limits: Limits, *, actor: str, progress: Callable[[str], None] = lambda _: None
) -> tuple[str, Look]:
    """Make the challenger the champion, if both compared on the sealed test cases of a data set are within the limits.

    The look counts whatever comes of it. What is told is the decision and which limits were not met, never by how much.

    Args:
        registry: The registered model.
        dataset: A data set whose section ``test`` is sealed.
        limits: Fixed before the training.
        actor: User who looks; another one must have approved it.
        progress: Called with each case before it is evaluated.

    Returns:
        Number of the new champion, and the look.

    Raises:
        InputError: When there is nothing to promote, the test section is not sealed, or the challenger has learned its subjects.
        LockoutError: When the cases are not the whole test set, nobody else has approved the look, the looks are used up, or the
            challenger is outside the limits.
    """
    cases = read_dataset(dataset)["test"]
    folder = find_sealed(dataset)
    sealed = SealedTestSet(folder) if folder else None
    if sealed is None or not cases:
        raise InputError(f"The test cases of {dataset} are not sealed. Seal them first: minivess testset seal {dataset}")
    sealed.check_whole(case.to_item() for case in cases)
    registry.check_challenger()
    with tempfile.TemporaryDirectory() as text:
        aliases = [alias for alias in (CHALLENGER, CHAMPION) if registry.resolve(alias)]
        folders = {alias: registry.fetch_below(alias, Path(text)) for alias in aliases}
        refuse_learned(cases, history_of(folders[CHALLENGER]), model="The challenger", advice="It cannot be judged on them.")
        models = {alias: load_bundle(folder) for alias, folder in folders.items()}
        weights = models[CHALLENGER].model.weights_sha256
        for case in cases:
            load_pair(case.to_item())  # a file that cannot be read costs no look
        look = open_look(sealed, model=registry.name, weights_sha256=weights, actor=actor)
        results = with_few_pictures(evaluate_cases(cases, models, progress=progress), wanted=False)
    content = summarise(results, models={alias: model.model.to_json() for alias, model in models.items()}, section="test")
    try:
        version = registry.promote(content, limits, tell_numbers=False)
    except LockoutError as error:
        _record(sealed, registry.name, actor, promoted=False)
        raise LockoutError(f"{error} {look.sentence()}") from None
    _record(sealed, registry.name, actor, promoted=True)
    return version, look


def _record(sealed: SealedTestSet, model: str, actor: str, *, promoted: bool) -> None:
    sealed.chain.append("testset.answer", actor=actor, details={"model": model, "scores": {}, "promoted": promoted})
    sealed.chain.checkpoint()
