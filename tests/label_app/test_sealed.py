"""The label app keeps its hands off the sealed test set, and does not start with one that was changed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from minivess.ensemble import write_ensemble
from minivess.errors import InputError, LockoutError
from minivess.evaluate import SealedTestSet
from minivess.models import load_bundle, weights_path
from minivess.store import LabelStore

pytest.importorskip("monailabel")

from minivess.label_app.datastore import StoreDatastore
from minivess.label_app.settings import AppSettings
from minivess.label_app.train_task import VesselTrainTask


@pytest.mark.row(51)
def test_a_label_on_a_test_image_is_not_trained_on(dataset: Path, bundle: Path, tmp_path: Path) -> None:
    sealed = SealedTestSet.seal(
        tmp_path / "sealed", [{"image": str(dataset / "images" / "stack3.nii.gz"), "subject": "m3"}], actor="x"
    )
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "renamed.nii.gz").write_bytes((dataset / "images" / "stack3.nii.gz").read_bytes())
    store = LabelStore(studies)
    store.images.scan()
    store.submit(dataset / "labels" / "stack3.nii.gz", image_id="renamed", actor="ann")
    conf = {"model_dir": str(tmp_path / "model"), "bundle": str(bundle), "preset": "tiny", "sealed_test_set": str(sealed.folder)}
    settings = AppSettings.from_conf(str(tmp_path), conf)
    target = settings.prepare_bundle()
    before = weights_path(target).read_bytes()
    with pytest.raises(LockoutError, match="belong to the sealed test set"):
        VesselTrainTask(target, settings)({"model": "segresnet", "max_epochs": 1}, StoreDatastore(store))
    assert weights_path(target).read_bytes() == before
    assert list(sealed.chain.entries())[-1]["action"] == "testset.refuse"


def test_a_changed_or_missing_test_set_stops_the_start(dataset: Path, tmp_path: Path) -> None:
    sealed = SealedTestSet.seal(
        tmp_path / "sealed", [{"image": str(dataset / "images" / "stack3.nii.gz"), "subject": "m3"}], actor="x"
    )
    file = sealed.folder / "sealed.json"
    file.write_text(json.dumps({"subjects": [], "fingerprints": []}))
    with pytest.raises(LockoutError):
        AppSettings.from_conf(str(tmp_path), {"sealed_test_set": str(sealed.folder)})
    with pytest.raises(InputError, match="testset seal"):
        AppSettings.from_conf(str(tmp_path), {"sealed_test_set": str(tmp_path / "nothing")})


def test_weights_of_a_workspace_never_see_other_images_than_they_were_trained_on(bundle: Path, tmp_path: Path) -> None:
    def settings(name: str, **changed: str) -> AppSettings:
        copy = Path(shutil.copytree(bundle, tmp_path / name))
        for config in ("inference.yaml", "train.yaml"):
            file = copy / "configs" / config
            for key, value in changed.items():
                file.write_text(re.sub(rf"(?m)^{key}: .*$", f"{key}: {value}", file.read_text()))
        return AppSettings.from_conf(str(tmp_path), {"model_dir": str(tmp_path / "model"), "bundle": str(copy)})

    target = settings("first").prepare_bundle()
    assert settings("another threshold", threshold="0.4").prepare_bundle() == target
    assert "threshold: 0.4" in (target / "configs" / "inference.yaml").read_text()
    with pytest.raises(InputError, match="holds a model with modality two_photon"):
        settings("another modality", modality="mr_angiography").prepare_bundle()


def test_a_second_ensemble_replaces_the_first_one_as_a_whole(bundle: Path, tmp_path: Path) -> None:
    for combination in ("mean", "vote"):
        ensemble = write_ensemble([bundle, bundle], tmp_path / combination, combination=combination)
        conf = {"model_dir": str(tmp_path / "model"), "bundle": str(ensemble)}
        target = AppSettings.from_conf(str(tmp_path), conf).prepare_bundle()
        assert load_bundle(target).model == load_bundle(ensemble).model
