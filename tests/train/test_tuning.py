"""A search of settings runs real trainings; a killed one goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from minivess.datasets import read_dataset
from minivess.errors import BundleError, InputError
from minivess.train import copy_bundle, tune_settings
from minivess.train import tuning as tuning_module

SHORT = {"epochs": 2, "iterations_per_epoch": 1, "val_interval": 1, "items_per_batch": 1, "patch_size": [16, 16, 8]}


@pytest.fixture
def copy(segresnet: Path, tmp_path: Path) -> Path:
    return copy_bundle(segresnet, tmp_path / "bundle")


def search(bundle: Path, dataset: Path, trials: int) -> tuning_module.TuningResult:
    cases = read_dataset(dataset)
    return tune_settings(
        bundle,
        trials=trials,
        output=bundle.parent / "tune",
        training=cases["training"],
        validation=cases["validation"],
        preset="tiny",
        overrides={**SHORT, "seed": 3},
    )


def test_an_interrupted_search_goes_on_with_the_training_that_was_interrupted(
    copy: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, seen = tuning_module.train_bundle, []

    def killed_in_the_second(*arguments: object, **options: object) -> object:
        seen.append(options["overrides"])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning_module, "train_bundle", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        search(copy, dataset, 3)
    found = search(copy, dataset, 3)
    assert (found.trials, len(seen)) == (3, 4)
    stated, interrupted, again, last = ({n: o[n] for n in ("learning_rate", "vessel_share")} for o in seen)
    assert stated == {"learning_rate": 0.004, "vessel_share": 0.6}, "first what the bundle states"
    assert again == interrupted
    assert last not in (stated, again)
    assert found.settings in (stated, again, last)
    assert found.validation_dice >= found.stated_dice
    assert search(copy, dataset, 3) == found, "nothing is trained again"
    assert search(copy, dataset, 2).trials == 2
    assert len(seen) == 4
    assert "tune: trial 3 of 3\ntune: learning_rate" in capsys.readouterr().err


def test_a_training_that_is_worse_than_the_others_is_ended_early(
    copy: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The validation is real; what it says to the search is not, so that the last training is the worst one for certain.
    reported = iter([0.5, 0.6, 0.5, 0.6, 0.5, 0.6, 0.1])
    real = tuning_module._Comparison.__call__
    monkeypatch.setattr(tuning_module._Comparison, "__call__", lambda self, epoch, dice: real(self, epoch, next(reported)))
    found = search(copy, dataset, 4)
    assert (found.trials, found.ended_early) == (4, 1)
    epochs = [len((folder / "log.csv").read_text().splitlines()) - 1 for folder in (copy.parent / "tune").glob("trial_*")]
    assert sorted(epochs) == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tune": None}, "does not state what may be searched. Add a line such as `tune"),
        ({"tune": {"learning_rate": {"low": 0.1}}}, "names numbers of this file with limits"),
        ({"tune": {"unknown": {"low": 0, "high": 1}}}, "names numbers of this file with limits"),
        ({"tune": {"vessel_share": {"low": 0.7, "high": 0.9}}}, "vessel_share is 0.6, outside of 0.7 to 0.9"),
    ],
)
def test_a_bundle_that_states_no_sound_limits_is_refused(
    copy: Path, dataset: Path, change: dict[str, object], words: str
) -> None:
    file = copy / "configs" / "train.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | change, sort_keys=False))
    with pytest.raises(BundleError, match=words):
        search(copy, dataset, 2)


def test_a_search_needs_held_out_cases(copy: Path, dataset: Path) -> None:
    with pytest.raises(InputError, match="use --folds"):
        tune_settings(copy, trials=2, output=copy, training=read_dataset(dataset)["training"], validation=[])


@pytest.mark.parametrize("name", ["segresnet", "vessap", "vista3d", "sam3_lora"])
@pytest.mark.parametrize("preset", ["full", "tiny"])
def test_every_bundle_states_what_is_searched(name: str, preset: str, segresnet: Path) -> None:
    stated, space = tuning_module.read_space(segresnet.parent / name, preset)
    assert stated.keys() == space.keys() == {"learning_rate", "vessel_share"}
