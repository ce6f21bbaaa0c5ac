"""Import from and export to a studies folder of MONAI Label's own datastore; nothing is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from store.conftest import image_volume, label_volume

from minivess.store import LabelStore
from minivess.store.monai_label import export, import_once
from minivess.volume import read_volume, write_volume


@pytest.fixture
def worked_in(studies: Path) -> Path:
    write_volume(image_volume(3), studies / "c.nii.gz")
    write_volume(label_volume(1), studies / "labels" / "final" / "a.nii.gz")
    write_volume(label_volume(2), studies / "labels" / "original" / "a.nrrd")
    write_volume(label_volume(4, value=3), studies / "labels" / "final" / "c.nii.gz")
    (studies / "labels" / "final" / "gone.nii.gz").write_bytes(b"")
    info = {"label_info": [{"name": "vessel", "idx": 3}], "client_id": "slicer"}
    objects = {
        "a": {"image": {"ext": ".nii.gz", "info": {"subject": "m1", "strategy": {}}}, "labels": {"final": {"ext": ".nii.gz", "info": {}}}},
        "c": {"image": {"ext": ".nii.gz", "info": {}}, "labels": {"final": {"ext": ".nii.gz", "info": info}}},
    }  # fmt: skip
    (studies / "datastore_v2.json").write_text(json.dumps({"name": "x", "description": "", "objects": objects}))
    return studies


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and "minivess_store" not in p.parts
    }


def opened(studies: Path) -> LabelStore:
    store = LabelStore(studies)
    store.images.scan()
    return store


def test_import_once__maps_labels_by_name_and_leaves_the_folder_unchanged(worked_in: Path) -> None:
    before, store = files(worked_in), opened(worked_in)
    report = import_once(store)
    assert report is not None
    assert report["imported"] == 3
    assert list(report["refused"]) == ["final/gone.nii.gz"]
    assert store.images.get("a").info == {"subject": "m1"}
    assert np.array_equal(read_volume(store.head("a").path).array, label_volume(1).array)
    assert np.array_equal(read_volume(store.head("a", "original").path).array, label_volume(2).array)
    assert np.unique(read_volume(store.head("c").path).array).tolist() == [0, 1]
    assert files(worked_in) == before
    assert import_once(opened(worked_in)) is None
    assert store.counts() == {"final": 2, "original": 1}


def test_import_once__imported_labels_conflict_with_no_submission(worked_in: Path, upload: Path) -> None:
    store = opened(worked_in)
    import_once(store)
    assert store.submit(upload, image_id="a", actor="ann").base is not None
    assert store.conflicting() == []


@pytest.mark.parametrize(
    "content", ["", '{"objects": {"a"', "[]", '{"objects": 7}', '{"objects": {"a": 7}}', '{"objects": {"a": {"labels": 7}}}']
)
def test_import_once__a_damaged_index_loses_no_label(worked_in: Path, content: str) -> None:
    (worked_in / "datastore_v2.json").write_text(content)
    report = import_once(opened(worked_in))
    assert report is not None
    assert (report["imported"], report["index"]) == (2, False)  # c holds the value 3, which only the index could name
    assert "value 3" in report["refused"]["final/c.nii.gz"]


def test_export__renames_existing_files_with_other_content(worked_in: Path, upload: Path, tmp_path: Path) -> None:
    store = opened(worked_in)
    import_once(store)
    store.submit(upload, image_id="a", actor="ann")
    before = files(worked_in)
    assert export(store, worked_in)["left_out"] == 1
    assert opened(worked_in).images.scan() == []  # no copy of an image became a second case
    assert not (worked_in / "mouse2__b.nrrd").exists()
    assert np.array_equal(read_volume(worked_in / "labels" / "final" / "a.nii.gz").array, label_volume().array)
    assert set(before.values()) <= set(files(worked_in).values())
    export(store, tmp_path / "out")
    assert (tmp_path / "out" / "mouse2__b.nrrd").is_file()
    pytest.importorskip("monailabel")
    from monailabel.datastore.local import LocalDatastore

    theirs = LocalDatastore(str(tmp_path / "out"), extensions=["*.nii.gz", "*.nrrd"])
    assert sorted(theirs.get_labeled_images()) == ["a", "c"]
    assert sorted(theirs.list_images()) == ["a", "c", "mouse2__b"]
