"""Search the settings of a training that score best on held-out cases, with Optuna; an interrupted search is resumed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivess.datasets.dataset import TrainingCase
from minivess.errors import BundleError, InputError
from minivess.extras import require_extra
from minivess.train.run import TrainingResult, read_training_config, train_bundle

if TYPE_CHECKING:
    import optuna

#: Key of ``train.yaml`` that states what is searched: setting -> ``low``, ``high``, and ``log: true`` for a logarithmic scale.
SPACE_KEY = "tune"
#: So many trainings are never ended early: the others are compared with their median.
_COMPARED_FROM = 3


@dataclass(frozen=True)
class TuningResult:
    """The result of a search.

    Attributes:
        settings: The best settings.
        validation_dice: Mean Dice on the held-out cases with them, in [0, 1].
        stated_dice: The same with the settings that the bundle states.
        trials: Number of trainings.
        ended_early: How many of them were ended, since they were worse than the median of the others.
    """

    settings: dict[str, float]
    validation_dice: float
    stated_dice: float
    trials: int
    ended_early: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def tune_settings(
    bundle: Path,
    *,
    trials: int,
    output: Path,
    training: Sequence[TrainingCase],
    validation: Sequence[TrainingCase],
    preset: str = "full",
    init_weights: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    sealed: Path | None = None,
) -> TuningResult:
    """Train with several settings, the stated ones first, and return those with the best Dice on held-out cases.

    Args:
        bundle: The bundle's folder; ``tune`` in its ``train.yaml`` states what is searched.
        trials: Number of trainings, with those of an interrupted search.
        output: Folder of the search; called again with the same one, it goes on where it was interrupted.
        training: Cases to train on.
        validation: Held-out cases; at least one.
        preset: One of :func:`minivess.train.presets`.
        init_weights: Weights to start from.
        overrides: Values for other keys of the configuration.
        sealed: Folder of a sealed test set; none of its cases may be among the cases.

    Raises:
        MissingExtraError: When Optuna is not installed.
        InputError: When there is no held-out case.
        BundleError: When the bundle states nothing to search.
    """
    require_extra("tune", "A search of settings")
    if not validation:
        raise InputError(
            "A search needs held-out cases to compare on. Got none: minivess data make --validation, or use --folds."
        )
    stated, space = read_space(bundle, preset)
    study = _open_study(output, stated, seed=int((overrides or {}).get("seed", 0)))
    train = partial(
        train_bundle, bundle, training=training, validation=validation, preset=preset, init_weights=init_weights, sealed=sealed
    )
    while (done := len(_finished(study))) < trials:
        _say(f"trial {done + 1} of {trials}")
        _train_next(study, space, output, dict(overrides or {}), train)
    finished = _finished(study)[:trials]  # an earlier search may have had more
    best = max((trial for trial in finished if trial.state == _states().COMPLETE), key=lambda trial: trial.value or 0.0)
    return TuningResult(
        settings=dict(best.params),
        validation_dice=float(best.value or 0.0),
        stated_dice=float(finished[0].value or 0.0),
        trials=len(finished),
        ended_early=sum(trial.state == _states().PRUNED for trial in finished),
    )


def read_space(bundle: Path, preset: str) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Return the settings that a bundle states, and within which limits they are searched.

    Args:
        bundle: The bundle's folder.
        preset: One of :func:`minivess.train.presets`.

    Returns:
        Setting -> stated value; setting -> ``low``, ``high``, ``log``.

    Raises:
        BundleError: When the bundle states no such settings, or their limits are none.
    """
    content = read_training_config(bundle, preset)
    space = content.get(SPACE_KEY)
    example = f"{SPACE_KEY}: {{learning_rate: {{low: 0.0005, high: 0.008, log: true}}}}"
    if not isinstance(space, dict) or not space:
        raise BundleError(f"{bundle}/configs/train.yaml does not state what may be searched. Add a line such as `{example}`.")
    try:
        limits = {
            n: {"low": float(v["low"]), "high": float(v["high"]), "log": bool(v.get("log", False))} for n, v in space.items()
        }
        stated = {name: float(content[name]) for name in limits}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{bundle}/configs/train.yaml: {SPACE_KEY} names numbers of this file with limits, `{example}`. Got {space}."
        ) from error
    for name, limit in limits.items():
        if not limit["low"] <= stated[name] <= limit["high"]:
            raise BundleError(
                f"{bundle}: {name} is {stated[name]:g}, outside of {limit['low']:g} to {limit['high']:g} in {SPACE_KEY}."
            )
    return stated, limits


def _train_next(
    study: optuna.Study,
    space: Mapping[str, Mapping[str, Any]],
    output: Path,
    overrides: Mapping[str, Any],
    train: Callable[..., TrainingResult],
) -> None:
    """Train with the settings that the search wants to see next, and tell it the result."""
    trial = study.ask()
    settings = {name: trial.suggest_float(name, limit["low"], limit["high"], log=limit["log"]) for name, limit in space.items()}
    _say(_as_text(settings))
    comparison = _Comparison(trial)
    result = train(output=output / _folder_name(settings), overrides={**overrides, **settings}, after_validation=comparison)
    if comparison.worse:
        study.tell(trial, state=_states().PRUNED)
    else:
        study.tell(trial, result.validation_dice)
    ended = ", ended early" if comparison.worse else ""
    _say(f"validation Dice {result.validation_dice:.3f}{ended}; best {study.best_value:.3f}")


class _Comparison:
    """Ends a training whose validation is worse than the median of the others at the same epoch."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial, self.worse = trial, False

    def __call__(self, epoch: int, dice: float) -> bool:
        self.trial.report(dice, epoch)
        self.worse = self.trial.should_prune()
        return self.worse


def _open_study(output: Path, stated: Mapping[str, float], *, seed: int) -> optuna.Study:
    """Open the search of a folder, or begin one: first the stated settings, after an interruption those that were not done."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(output / "journal.log"))),
        study_name="settings",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_COMPARED_FROM),
    )
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))  # resumed, it must not draw the first ones again
    for trial in study.get_trials(states=(_states().RUNNING,)):  # of a process that ended
        study.tell(trial.number, state=_states().FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
    if not _finished(study) and not study.get_trials(states=(_states().WAITING,)):
        study.enqueue_trial(dict(stated))
    return study


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(_states().COMPLETE, _states().PRUNED))


def _states() -> type[optuna.trial.TrialState]:
    from optuna.trial import TrialState

    return TrialState


def _folder_name(settings: Mapping[str, float]) -> str:
    """Name a folder after its settings: an interrupted training goes on in the same one."""
    return "trial_" + sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _as_text(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in settings.items())


def _say(text: str) -> None:
    print(f"tune: {text}", file=sys.stderr, flush=True)
