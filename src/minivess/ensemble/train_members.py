"""Train one model a fold and seed, score each on the subjects that it has not seen, and combine all into an ensemble."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from minivess.datasets import TrainingCase
from minivess.ensemble.write import write_ensemble
from minivess.errors import InputError
from minivess.evaluate.gate_scores import score_cases
from minivess.evaluate.intervals import Interval, interval_over_subjects
from minivess.models import load_bundle, weights_path
from minivess.paths import atomic_file
from minivess.train import TrainingResult, copy_bundle, publish, read_cases, train_bundle

#: One training: its training cases and its held-out cases.
Fold = tuple[Sequence[TrainingCase], Sequence[TrainingCase]]
_SCORES = "scores.json"


@dataclass(frozen=True)
class HeldOutScore:
    """The score of one model on one case whose subject it has not seen.

    Attributes:
        model: Name of the model.
        case: Name of the case.
        subject: Its subject.
        dice: Dice similarity coefficient, in [0, 1].
        cldice: Centre-line Dice, in [0, 1].
        betti0_error: Error in the number of components, see :class:`minivess.evaluate.GateScores`.
    """

    model: str
    case: str
    subject: str
    dice: float
    cldice: float
    betti0_error: float


@dataclass(frozen=True)
class TrainedMember:
    """One model that has just been trained.

    Attributes:
        bundle: Its bundle.
        seed: Seed of its training.
        fold: What it has learned, and what was held out.
        result: Of its training.
        scores: On its held-out cases.
    """

    bundle: Path
    seed: int
    fold: Fold
    result: TrainingResult
    scores: tuple[HeldOutScore, ...]


@dataclass(frozen=True)
class TrainedMembers:
    """Models of one training command.

    Attributes:
        ensemble: Bundle of all models.
        members: Bundle of each model.
        scores: Scores of each model on its held-out cases; empty without any.
        settings: What all were trained with, beside the configuration.
        splits: Number of splits into training and held-out cases.
    """

    ensemble: Path
    members: tuple[Path, ...]
    scores: tuple[HeldOutScore, ...]
    settings: Mapping[str, Any]
    splits: int

    @property
    def also_chose(self) -> list[str]:
        """What the held-out cases also decided, so that the scores are a little too good."""
        settings = "settings" if self.splits == 1 else "settings (those of the first fold)"
        tuned = "tuned" in self.settings.get("notes", {})
        return [*(["checkpoints"] if self.splits == 1 else []), *([settings] if tuned else [])]

    def interval(self, name: str) -> Interval:
        """Return the mean of a score over subjects, with its interval; a case counts with the mean of its models.

        Args:
            name: ``"dice"``, ``"cldice"`` or ``"betti0_error"``.
        """
        values: dict[tuple[str, str], list[float]] = {}
        for row in self.scores:
            values.setdefault((row.subject, row.case), []).append(getattr(row, name))
        means, subjects = [float(np.mean(v)) for v in values.values()], [subject for subject, _ in values]
        return interval_over_subjects(means, subjects, bounds=(0.0, math.inf if name == "betti0_error" else 1.0))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "ensemble": str(self.ensemble),
            "members": [str(member) for member in self.members],
            "held_out": {name: self.interval(name).to_json() for name in ("dice", "cldice", "betti0_error") if self.scores},
            "settings": dict(self.settings),
            "held_out_also_chose": self.also_chose,
            "scores": [asdict(row) for row in self.scores],
        }


def folds_by_subject(cases: Sequence[TrainingCase], count: int) -> list[Fold]:
    """Split cases into folds of about equally many, so that each subject is held out once.

    Args:
        cases: All labelled cases.
        count: Number of folds.

    Raises:
        InputError: When there are fewer subjects than folds.
    """
    subjects = [case.subject for case in cases]
    if not 2 <= count <= len(set(subjects)):
        raise InputError(
            f"--folds {count}: allowed are 2 to the number of subjects, here {len(set(subjects))}, since each is held out once."
        )
    splits = GroupKFold(n_splits=count).split(cases, groups=subjects)
    return [([cases[i] for i in training], [cases[i] for i in held_out]) for training, held_out in splits]


def train_members(
    bundle: Path,
    out: Path,
    *,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    preset: str = "full",
    init_weights: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    sealed: Path | None = None,
    on_trained: Callable[[TrainedMember], None] = lambda _: None,
) -> TrainedMembers:
    """Train one model for each fold and seed. Called again after an interruption, it goes on where it was.

    With several folds a model is not chosen by its held-out cases, but by its number of steps: their scores are those of new
    subjects.

    Args:
        bundle: Bundle that is copied for each model.
        out: Folder of the models (in ``runs``), of their scores ``held_out.json``, and of the ``ensemble``.
        folds: Training and held-out cases; the same for all models, or one of :func:`folds_by_subject`.
        seeds: Seeds of the trainings.
        preset: One of :func:`minivess.train.presets`.
        init_weights: Weights to start from.
        overrides: Values for keys of the configuration.
        sealed: Folder of a sealed test set; none of its cases may be among the cases.
        on_trained: Is called with each model when it is trained; not again after an interruption.

    Raises:
        InputError: When it would be one model only.
    """
    if len(folds) * len(seeds) < 2:
        raise InputError("An ensemble has at least two models. Name more folds or more seeds.")
    settings = {**(overrides or {}), **({"val_interval": sys.maxsize} if len(folds) > 1 else {})}  # once, at the end
    members: list[Path] = []
    scores: list[HeldOutScore] = []
    for name, seed, fold in _trainings(folds, seeds):
        training, held_out = fold
        member = out / "runs" / name
        if not (member / _SCORES).is_file():
            print(f"train: model {len(members) + 1} of {len(folds) * len(seeds)}, {name}", file=sys.stderr, flush=True)
            copy_bundle(bundle, member)
            result = train_bundle(
                member, training=training, validation=held_out, output=member / "runs" / "train", preset=preset,
                init_weights=init_weights, overrides={**settings, "seed": seed}, sealed=sealed,
            )  # fmt: skip
            publish(result.weights, member)
            rows = tuple(_scores(name, member, held_out))
            on_trained(TrainedMember(member, seed, fold, result, rows))
            _write(member / _SCORES, [asdict(row) for row in rows])
        members.append(member)
        scores += [HeldOutScore(**row) for row in json.loads((member / _SCORES).read_text())]
    ensemble = out / "ensemble"
    if not weights_path(ensemble).is_file():
        write_ensemble(members, ensemble)
    trained = TrainedMembers(ensemble, tuple(members), tuple(scores), settings, len(folds))
    _write(out / "held_out.json", trained.to_json())
    return trained


def _trainings(folds: Sequence[Fold], seeds: Sequence[int]) -> Iterator[tuple[str, int, Fold]]:
    for number, fold in enumerate(folds, start=1):
        for seed in seeds:
            yield (f"fold{number}_seed{seed}" if len(folds) > 1 else f"seed{seed}"), seed, fold


def _scores(name: str, member: Path, held_out: Sequence[TrainingCase]) -> Iterator[HeldOutScore]:
    rows = score_cases(load_bundle(member), read_cases(held_out))
    for case, row in zip(held_out, rows, strict=True):
        yield HeldOutScore(name, case.name, case.subject, row.dice, row.cldice, row.betti0_error)


def _write(file: Path, content: Any) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
