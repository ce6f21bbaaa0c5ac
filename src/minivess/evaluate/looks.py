"""Looks at a sealed test set: each needs a reason and a second person, is counted, limited, and answered with few digits.

Whoever asks often enough learns the test set by heart. So the number of looks is limited and stands in each report, a score is
rounded to its standard error, and a better one is told only when it is better by as much: the ladder of Blum and Hardt
(arXiv 1502.04585).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from filelock import FileLock

from minivess.errors import InputError, LockoutError
from minivess.evaluate.sealed import SealedTestSet

_FINEST_STEP = 0.01


@dataclass(frozen=True)
class Look:
    """One look at a sealed test set.

    Attributes:
        number: How many looks there were, this one included.
        budget: How many are allowed.
        reason: Why it was opened, in the words of who approved it.
        opened_by: User who looks.
        approved_by: Second person.
    """

    number: int
    budget: int
    reason: str
    opened_by: str
    approved_by: str

    def sentence(self) -> str:
        """Return what a report says about it."""
        return (
            f"Look {self.number} of {self.budget} at the sealed test set, by {self.opened_by}, approved by {self.approved_by}: "
            f"{self.reason}"
        )


def approve_look(sealed: SealedTestSet, *, reason: str, actor: str, for_withdrawal: bool = False) -> None:
    """Approve one look of somebody else.

    Args:
        sealed: The test set.
        reason: Why it is opened; it is written to the audit chain.
        actor: User who approves.
        for_withdrawal: Whether cases are to be withdrawn, which is possible also when the looks are used up.

    Raises:
        InputError: When there is no reason.
        LockoutError: When the looks are used up.
    """
    if len(reason.split()) < 2:
        raise InputError(f"Say in a few words why the test set is opened. Got {reason!r}.")
    if not for_withdrawal:
        _refuse_beyond_budget(sealed)
    sealed.chain.append("testset.approve", actor=actor, details={"reason": reason, "withdrawal": for_withdrawal})
    sealed.chain.checkpoint()


def open_look(sealed: SealedTestSet, *, model: str, weights_sha256: str, actor: str, for_withdrawal: bool = False) -> Look:
    """Open the test set for one evaluation of one model; it counts from here on, whatever becomes of it.

    Args:
        sealed: The test set.
        model: Name of the model.
        weights_sha256: Hash of its weights.
        actor: User who looks.
        for_withdrawal: Whether cases are withdrawn, which is possible also when the looks are used up. Only an approval of a
            withdrawal allows it, and such an approval allows nothing else.

    Raises:
        LockoutError: When no other person has approved a look that was not used, or the looks are used up.
    """
    with FileLock(sealed.folder / ".looks.lock"):  # two at once must not use one approval
        return _open_look(sealed, model=model, weights_sha256=weights_sha256, actor=actor, for_withdrawal=for_withdrawal)


def _open_look(sealed: SealedTestSet, *, model: str, weights_sha256: str, actor: str, for_withdrawal: bool) -> Look:
    if not for_withdrawal:
        _refuse_beyond_budget(sealed, model=model, actor=actor)
    entries = list(sealed.chain.entries())
    used = {entry["details"]["approval"] for entry in entries if entry["action"] == "testset.open"}
    approvals = [e for e in entries if e["action"] == "testset.approve" and e["seq"] not in used and e["actor"] != actor]
    waiting = [e for e in approvals if e["details"].get("withdrawal", False) == for_withdrawal]
    if not waiting:
        sealed.chain.append("testset.refuse", actor=actor, details={"purpose": f"evaluation of {model}", "cases": 0})
        purpose, option = ("withdrawal", " --withdrawal") if for_withdrawal else ("evaluation", "")
        folder = shlex.quote(str(sealed.folder))
        raise LockoutError(
            f"The test set in {sealed.folder} is sealed. A second person opens it for one {purpose}: "
            f'minivess testset approve {folder} --reason "..."{option} '
            f"(you are {actor}; your own approval does not count)."
        )
    approval = waiting[0]
    details = {"approval": approval["seq"], "model": model, "weights_sha256": weights_sha256}
    sealed.chain.append("testset.open", actor=actor, details=details)
    sealed.chain.checkpoint()
    return Look(count_looks(sealed), sealed.budget, str(approval["details"]["reason"]), actor, str(approval["actor"]))


def tell_scores(
    sealed: SealedTestSet, *, model: str, means: Mapping[str, float], errors: Mapping[str, float], actor: str
) -> dict[str, str]:
    """Return the scores as they may be told, and write them to the audit chain.

    Args:
        sealed: The test set.
        model: Name of the model, without its version: those of one name climb one ladder.
        means: Score name -> mean; higher is better.
        errors: Score name -> standard error of the mean.
        actor: User who looks.

    Returns:
        Score name -> rounded score, or that it is not better than the best told before.
    """
    told: dict[str, str] = {}
    best = _best_told(sealed, model)
    numbers: dict[str, float] = {}
    for name, mean in means.items():
        step = ladder_step(errors.get(name, math.nan))
        rounded = round(round(mean / step) * step, 4)
        if name in best and rounded < best[name] + step - 1e-9:
            told[name] = f"not better than {best[name]:g} by {step:g}"
        else:
            numbers[name] = rounded
            told[name] = f"{rounded:g} (to {step:g})"
    sealed.chain.append("testset.answer", actor=actor, details={"model": model, "scores": numbers})
    sealed.chain.checkpoint()
    return told


def ladder_step(standard_error: float) -> float:
    """Return the step that a score is rounded to: its standard error, rounded up to one digit, at least 0.01.

    Example:
        >>> ladder_step(0.004), ladder_step(0.023), ladder_step(float("nan"))
        (0.01, 0.03, 0.05)
    """
    if not math.isfinite(standard_error):
        return 0.05  # of one subject: nobody knows
    if standard_error <= _FINEST_STEP:
        return _FINEST_STEP
    digits = -math.floor(math.log10(standard_error))
    return round(math.ceil(round(standard_error * 10**digits, 6)) / 10**digits, digits)


def count_looks(sealed: SealedTestSet) -> int:
    """Return how often the test set was opened."""
    return sum(entry["action"] == "testset.open" for entry in sealed.chain.entries())


def _best_told(sealed: SealedTestSet, model: str) -> dict[str, float]:
    best: dict[str, float] = {}
    for entry in sealed.chain.entries():
        if entry["action"] == "testset.answer" and entry["details"]["model"] == model:
            for name, value in entry["details"]["scores"].items():
                best[name] = max(value, best.get(name, value))
    return best


def _refuse_beyond_budget(sealed: SealedTestSet, *, model: str = "", actor: str = "") -> None:
    looks = count_looks(sealed)
    if looks >= sealed.budget:
        if actor:
            sealed.chain.append("testset.refuse", actor=actor, details={"purpose": f"evaluation of {model}", "cases": 0})
        raise LockoutError(
            f"The test set in {sealed.folder} was opened {looks} times, which is all that was allowed when it was sealed. "
            "Its scores mean little by now. Seal new cases of new subjects: minivess testset seal --help"
        )
