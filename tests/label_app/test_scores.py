"""Scores of labels that need no model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("monailabel")

from store.conftest import image_volume, label_volume

from minivess.label_app.datastore import StoreDatastore
from minivess.label_app.scores import SumScoring
from minivess.store import LabelStore
from minivess.volume import write_volume


def test_sum_scoring__counts_the_voxels_of_each_final_label(tmp_path: Path) -> None:
    for name in "ab":
        write_volume(image_volume(), tmp_path / "studies" / f"{name}.nii.gz")
    store = LabelStore(tmp_path / "studies")
    store.images.scan()
    label = label_volume()
    store.submit(write_volume(label, tmp_path / "label.nii.gz"), image_id="a", actor="ann")
    datastore = StoreDatastore(store)
    assert SumScoring()({}, datastore) == {"a": {"sum": int(label.array.sum())}}
    assert datastore.get_label_info("a", "final")["name"] == "a.nii.gz"
    assert datastore.list_images() == ["a", "b"]
    assert datastore.status()["completed"] == 1
