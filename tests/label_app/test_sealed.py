"""The label app keeps its hands off the sealed test set, and does not start with one that was changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.errors import InputError, LockoutError
from minivess.evaluate import SealedTestSet
from minivess.models import weights_path
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
