"""Studies, stores and exports as labs leave them: copies beside the original, odd names, lost folders, files of other programs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume
from typer.testing import CliRunner

from minivess.cli.main import app
from minivess.errors import ConflictError, InputError
from minivess.store import LabelStore, RevisionInfo
from minivess.store.monai_label import export, import_once
from minivess.store.repair import repair_store
from minivess.store.verification import check_files
from minivess.volume import write_volume


@pytest.fixture
def store(studies: Path) -> LabelStore:
    store = LabelStore(studies)
    store.images.scan()
    return store


def opened(studies: Path) -> LabelStore:
    store = LabelStore(studies)
    store.images.scan()
    return store


def test_an_export_beside_the_images_is_not_imported_at_the_next_start(store: LabelStore, studies: Path, upload: Path) -> None:
    assert import_once(store) is None
    store.submit(upload, image_id="a", actor="ann")
    assert export(store, studies)["labels"] == 1
    again = opened(studies)
    assert import_once(again) is None
    assert again.conflicting() == []
    assert again.head("a").actor == "ann"


def test_labels_that_came_after_the_first_start_are_imported_before_an_export(store: LabelStore, studies: Path) -> None:
    assert import_once(store) is None
    write_volume(label_volume(1), studies / "labels" / "final" / "a.nii.gz")
    export(store, studies)
    assert store.head("a").actor == "import"


def test_an_export_goes_on_without_what_cannot_be_read_and_names_it(
    store: LabelStore, studies: Path, upload: Path, tmp_path: Path
) -> None:
    write_volume(image_volume(2), studies / "z.nii.gz")
    store.images.scan()
    for image_id in ("a", "mouse2__b", "z"):
        store.submit(upload, image_id=image_id, actor="ann")
    store.images.announce("remote.nii.gz", info={})
    store.head("a").path.chmod(0o644)
    store.head("a").path.write_bytes(b"damaged")
    done = CliRunner().invoke(app, ["store", "export", str(studies), str(tmp_path / "out"), "--json"])
    counts = json.loads(done.stdout)
    assert done.exit_code == 1
    assert sorted(counts["refused"]) == ["final/a", "remote"]
    assert counts["labels"] == 2
    written = json.loads((tmp_path / "out" / "datastore_v2.json").read_text())["objects"]
    assert list(written["z"]["labels"]) == ["final"]
    assert written["a"]["labels"] == {}


def test_an_export_into_the_studies_is_refused(store: LabelStore, studies: Path) -> None:
    with pytest.raises(InputError, match="inside the studies"):
        export(store, studies / "exported")
    assert not (studies / "exported").exists()


def test_a_copy_of_a_store_and_an_old_export_are_no_images(
    store: LabelStore, studies: Path, upload: Path, tmp_path: Path
) -> None:
    store.submit(upload, image_id="a", actor="ann")
    export(store, tmp_path / "out")
    shutil.copytree(store.root, studies / "minivess_store_backup")
    shutil.copytree(tmp_path / "out" / "labels", studies / "other" / "labels")
    shutil.copy(tmp_path / "out" / "datastore_v2.json", studies / "other")
    write_volume(image_volume(7), studies / "other" / "new.nii.gz")
    assert store.images.scan() == ["other__new"]
    elsewhere = LabelStore(studies, root=tmp_path / "vault")  # the store before it, inside the studies, is one, too
    assert elsewhere.images.scan() == ["a", "mouse2__b", "other__new"]


def test_a_folder_whose_name_is_no_utf_8_stops_nothing(store: LabelStore, studies: Path) -> None:
    folder = os.fsencode(studies) + b"/M\xfcller"
    os.mkdir(folder)
    shutil.copy(studies / "a.nii.gz", os.path.join(folder, b"x.nii.gz"))
    write_volume(image_volume(5), studies / "y.nii.gz")
    assert store.images.scan() == ["y"]
    assert [why for why in store.images.skipped.values() if "UTF-8" in why]


def test_nan_in_the_index_of_monai_label_keeps_no_label_out(studies: Path) -> None:
    write_volume(label_volume(1), studies / "labels" / "final" / "a.nii.gz")
    objects = {"a": {"image": {"ext": ".nii.gz", "info": {"epistemic_entropy": float("nan")}}, "labels": {}}}
    (studies / "datastore_v2.json").write_text(json.dumps({"objects": objects}))
    report = import_once(opened(studies))
    assert report is not None
    assert report["imported"] == 1
    assert report["refused"] == {}  # the number that is none is left out


def test_a_restored_import_is_a_decision_that_a_stale_label_conflicts_with(store: LabelStore, tmp_path: Path) -> None:
    files = [write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in range(3)]
    imported = store.submit(files[0], image_id="a", actor="import", info=RevisionInfo(imported=True))
    seen = store.submit(files[1], image_id="a", actor="ann")
    store.restore("a", imported.number, actor="reviewer")
    with pytest.raises(ConflictError):
        store.submit(files[2], image_id="a", actor="bob", base=seen.number)
    with pytest.raises(ConflictError):
        store.submit(files[2], image_id="a", actor="carl")


def test_a_segment_with_another_name_is_not_taken_for_the_only_label(store: LabelStore, tmp_path: Path) -> None:
    white = write_volume(label_volume(value=255), tmp_path / "white.nii.gz")
    with pytest.raises(InputError, match="artifact"):
        store.submit(white, image_id="a", actor="ann", label_info=[{"name": "artifact", "idx": 255}])
    assert store.submit(white, image_id="a", actor="ann", label_info=[{"name": "vessel", "idx": 255}]).number


def test_files_of_other_programs_among_the_cases_are_passed_by(store: LabelStore, upload: Path) -> None:
    store.submit(upload, image_id="a", actor="ann")
    (store.root / "cases" / "Thumbs.db").write_bytes(b"x")
    assert check_files(store.root, store.journal.audit).faults == []


def test_a_case_whose_folder_is_lost_is_not_begun_again(studies: Path, upload: Path) -> None:
    store = opened(studies)
    store.submit(upload, image_id="a", actor="ann")
    kept = shutil.copytree(store.root / "cases" / "a", studies.parent / "kept")
    shutil.rmtree(store.root / "cases" / "a")
    repair_store(store)
    store.close()
    again = LabelStore(studies)
    write_volume(image_volume(5), studies / "y.nii.gz")
    assert again.images.scan() == ["y"], "one lost folder does not stop the others"
    assert "folder of its case is missing" in again.images.skipped["a.nii.gz"]
    shutil.copytree(kept, store.root / "cases" / "a")
    repair_store(again)
    assert LabelStore(studies).head("a").actor == "ann", "and it can be put back from a backup"


def test_conflicts_of_a_removed_image_wait_for_nobody(store: LabelStore, tmp_path: Path) -> None:
    files = [write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz") for seed in range(2)]
    store.submit(files[0], image_id="a", actor="ann")
    with pytest.raises(ConflictError):
        store.submit(files[1], image_id="a", actor="bob")
    assert len(store.conflicting()) == 1
    store.images.remove("a", actor="ann")
    assert store.conflicting() == []
