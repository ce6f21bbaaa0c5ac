"""The sealed test set keeps test cases out of training under whatever name."""

from __future__ import annotations

import gzip
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from minivess.cli.main import run
from minivess.datasets import make_dataset, read_dataset
from minivess.datasets.dataset import items
from minivess.errors import InputError, LockoutError
from minivess.evaluate import SealedTestSet, approve_look, find_sealed, fingerprint, open_look
from minivess.store import AuditChain
from minivess.volume import Volume, read_volume, reorient, write_volume


@pytest.fixture
def sealed(dataset: Path, tmp_path: Path) -> tuple[SealedTestSet, Path]:
    copy = Path(shutil.copytree(dataset, tmp_path / "data"))
    assert run(["testset", "seal", str(copy), "--out", str(tmp_path / "sealed")]) == 0
    return SealedTestSet(tmp_path / "sealed"), copy


def renamed(source: Path, folder: Path) -> Path:
    return Path(shutil.copyfile(source, folder / "harmless.nii.gz"))


def recompressed(source: Path, folder: Path) -> Path:
    target = folder / "x.nii.gz"
    target.write_bytes(gzip.compress(gzip.decompress(source.read_bytes()), 1))
    assert target.read_bytes() != source.read_bytes()
    return target


def as_nrrd(source: Path, folder: Path) -> Path:
    return write_volume(read_volume(source), folder / "x.nrrd")


def as_tiff(source: Path, folder: Path) -> Path:
    return write_volume(read_volume(source), folder / "x.ome.tif")


def inverted(source: Path, folder: Path) -> Path:
    volume = read_volume(source)
    return write_volume(volume.with_array(volume.array.max() - volume.array), folder / "x.nii.gz")


def as_float_and_turned(source: Path, folder: Path) -> Path:
    volume = reorient(read_volume(source), "PIR")
    return write_volume(volume.with_array(volume.array.astype(np.float32)), folder / "x.nii.gz")


@pytest.mark.requirement("R15")
@pytest.mark.row(51)
@pytest.mark.parametrize("disguise", [shutil.copy, renamed, recompressed, as_nrrd, as_tiff, as_float_and_turned])
def test_a_test_case_is_known_in_every_disguise(sealed: tuple[SealedTestSet, Path], tmp_path: Path, disguise) -> None:
    test_set, data = sealed
    folder = tmp_path / "new" / "images"
    folder.mkdir(parents=True)
    file = Path(disguise(data / "images" / "stack3.nii.gz", folder))
    with pytest.raises(LockoutError, match="voxels are those of a test case"):
        test_set.refuse([{"image": str(file), "subject": "somebody"}], purpose="training", actor="x")
    other = {"image": str(data / "images" / "stack0.nii.gz"), "subject": "stack0"}
    test_set.refuse([other], purpose="training", actor="x")


@pytest.mark.requirement("R15")
@pytest.mark.row(51)
def test_inverted_grey_values_are_known(sealed: tuple[SealedTestSet, Path], tmp_path: Path) -> None:
    test_set, data = sealed
    file = inverted(data / "images" / "stack3.nii.gz", tmp_path)
    with pytest.raises(LockoutError, match="shows what a test case shows"):
        test_set.refuse([{"image": str(file), "subject": "somebody"}], purpose="training", actor="x")


@pytest.mark.requirement("R15")
@pytest.mark.row(51)
def test_stock_monai_gets_no_case_of_a_data_set_with_a_seal(sealed: tuple[SealedTestSet, Path]) -> None:
    _, data = sealed
    for section in ("training", "test"):
        with pytest.raises(LockoutError, match="minivess train"):
            items(str(data), section)


@pytest.mark.requirement("R15")
@pytest.mark.row(51)
def test_a_second_seal_does_not_replace_the_first(
    sealed: tuple[SealedTestSet, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test_set, data = sealed
    assert run(["testset", "seal", str(data), "--out", str(tmp_path / "other"), "--looks", "50"]) == 1
    assert "are sealed in" in capsys.readouterr().err
    assert find_sealed(data) == test_set.folder
    assert run(["testset", "seal", str(data)]) == 0
    assert SealedTestSet(test_set.folder).budget == test_set.budget


@pytest.mark.requirement("R15")
@pytest.mark.row(51)
def test_another_seal_does_not_lift_that_of_the_data_set(
    sealed: tuple[SealedTestSet, Path], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, data = sealed
    other = SealedTestSet.seal(
        tmp_path / "other", [{"image": str(data / "images" / "stack0.nii.gz"), "subject": "nobody"}], actor="x"
    )
    content = json.loads((data / "dataset.json").read_text())
    content["training"], content["test"] = content["test"], content["training"]
    (data / "dataset.json").write_text(json.dumps(content))
    assert run(["train", str(data), "--out", str(tmp_path / "m"), "--sealed", str(other.folder)]) == 1
    assert "belong to the sealed test set" in capsys.readouterr().err


@pytest.mark.requirement("R15")
def test_two_data_sets_may_be_sealed_in_one_folder(sealed: tuple[SealedTestSet, Path], tmp_path: Path) -> None:
    _, data = sealed
    rows = [{"image": str(data / "images" / f"stack{n}.nii.gz"), "subject": f"stack{n}"} for n in range(3)]
    both = tmp_path / "both"
    SealedTestSet.seal(both, rows[:1], actor="x")
    SealedTestSet.seal(both, rows[1:2], actor="x").check_whole(rows[:1])
    grown = SealedTestSet.seal(both, rows[1:], actor="x")
    grown.check_whole(rows[1:])
    with pytest.raises(LockoutError, match="Nothing was opened"):
        grown.check_whole(rows[1:2])


@pytest.mark.requirement("R15")
def test_a_look_is_at_the_whole_test_set(sealed: tuple[SealedTestSet, Path]) -> None:
    test_set, data = sealed
    rows = [{"image": str(data / "images" / f"stack{n}.nii.gz"), "subject": f"stack{n}"} for n in range(4)]
    whole = [row for row in rows if test_set.contains([row])]
    test_set.check_whole(whole)
    for part in ([], rows):
        with pytest.raises(LockoutError, match="Nothing was opened"):
            test_set.check_whole(part)


@pytest.mark.requirement("R15")
def test_a_withdrawn_case_is_no_longer_looked_at_and_never_learned(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    make_dataset(data, test=["stack1", "stack3"], validation=["stack2"], replace=True)
    assert run(["testset", "seal", str(data)]) == 0
    folder = data / "sealed_test"
    command = ["testset", "withdraw", str(data), "--subject", "stack3"]
    assert run(command) == 1
    assert "A second person opens it" in capsys.readouterr().err
    monkeypatch.setattr("minivess.store.system_user", lambda: "second")
    assert run(["testset", "approve", str(folder), "--reason", "table of the paper"]) == 0
    monkeypatch.undo()
    assert run(command) == 1
    assert "--withdrawal (you are" in capsys.readouterr().err  # what was approved is an evaluation
    monkeypatch.setattr("minivess.store.system_user", lambda: "second")
    assert run(["testset", "approve", str(folder), "--reason", "consent was withdrawn", "--withdrawal"]) == 0
    monkeypatch.undo()
    with pytest.raises(LockoutError, match="is sealed"):
        open_look(SealedTestSet(folder), model="m", weights_sha256="", actor="second")
    monkeypatch.undo()
    assert run(command) == 0
    test_set, rows = SealedTestSet(folder), read_dataset(data)["test"]
    kept, gone = ([case.to_item() for case in rows if case.subject == name] for name in ("stack1", "stack3"))
    test_set.check_whole(kept)
    assert test_set.contains(gone)
    with pytest.raises(LockoutError, match="Nothing was opened"):
        test_set.check_whole(kept + gone)
    assert run(["testset", "seal", str(data)]) == 0  # it does not come back with new cases
    SealedTestSet(folder).check_whole(kept)
    assert run(["testset", "withdraw", str(data), "--subject", "stack1"]) == 1
    assert "No case would be left" in capsys.readouterr().err
    assert run(["testset", "verify", str(folder), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["cases"], verdict["withdrawn"], verdict["looks"]) == (1, 1, 1)


@pytest.mark.requirement("R15")
def test_a_subject_leaves_also_as_the_only_one_of_its_set_and_when_no_look_is_left(
    sealed: tuple[SealedTestSet, Path], tmp_path: Path
) -> None:
    _, data = sealed
    rows = [{"image": str(data / "images" / f"stack{n}.nii.gz"), "subject": f"stack{n}"} for n in range(3)]
    both = tmp_path / "both"
    SealedTestSet.seal(both, rows[:1], actor="x", looks=1)
    test_set = SealedTestSet.seal(both, rows[1:], actor="x")
    approve_look(test_set, reason="final table", actor="second")
    open_look(test_set, model="m", weights_sha256="", actor="first")
    with pytest.raises(LockoutError, match="was opened 1 times"):
        approve_look(test_set, reason="consent was withdrawn", actor="second")
    approve_look(test_set, reason="consent was withdrawn", actor="second", for_withdrawal=True)
    with pytest.raises(LockoutError, match="was opened 1 times"):
        open_look(test_set, model="withdrawal", weights_sha256="", actor="first")  # no name of a model opens more
    open_look(test_set, model="", weights_sha256="", actor="first", for_withdrawal=True)
    left = test_set.withdraw(rows[:1], reason="consent was withdrawn", actor="first")
    left.check_whole(rows[1:])
    again = SealedTestSet.seal(both, rows[:1], actor="x")  # nothing of it comes back
    with pytest.raises(LockoutError):
        again.check_whole([])
    again.check_withdrawal(rows[1:2])


@pytest.mark.requirement("R15")
def test_a_look_that_was_cut_off_is_seen_with_a_copy_of_the_checkpoints(
    sealed: tuple[SealedTestSet, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, safe = sealed[0].folder, tmp_path / "safe"
    before = {file: file.read_bytes() for file in (sealed[0].chain.path, sealed[0].chain.checkpoints)}
    assert run(["testset", "approve", str(folder), "--reason", "one more look"]) == 0
    assert run(["testset", "checkpoint", str(folder), "--out", str(safe)]) == 0
    copies = ["--checkpoints", str(safe / "checkpoints.jsonl"), "--public-key", str(safe / "public_key.pem")]
    assert run(["testset", "verify", str(folder), *copies]) == 0
    for file, content in before.items():
        file.write_bytes(content)
    assert run(["testset", "verify", str(folder)]) == 0
    capsys.readouterr()
    assert run(["testset", "verify", str(folder), *copies]) == 1
    assert "its end was cut off" in capsys.readouterr().out
    assert run(["testset", "checkpoint", str(folder), "--out", str(safe)]) == 1


@pytest.mark.row(51)
def test_the_command_refuses_with_exit_1_and_an_audit_entry(
    sealed: tuple[SealedTestSet, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test_set, data = sealed
    (data / "sealed_test").symlink_to(test_set.folder)
    make_dataset(data, validation=["stack2"], replace=True)  # the test case goes to the training
    before = len(list(test_set.chain.entries()))
    assert run(["train", str(data), "--out", str(tmp_path / "model")]) == 1
    assert "LockoutError: 1 cases for training belong to the sealed test set" in capsys.readouterr().err
    (data / "images" / "stack3.nii.gz").unlink()
    (data / "labels" / "stack3.nii.gz").unlink()
    make_dataset(data, subjects={"stack1": "stack3"}, replace=True)  # another case of the same subject
    assert run(["train", str(data), "--out", str(tmp_path / "model2"), "--sealed", str(test_set.folder)]) == 1
    assert "its subject is in the test set" in capsys.readouterr().err
    entries = list(test_set.chain.entries())[before:]
    assert [(e["action"], e["details"]) for e in entries] == [("testset.refuse", {"purpose": "training", "cases": 1})] * 2
    assert run(["testset", "verify", str(test_set.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == 2


def test_a_test_set_that_was_changed_is_no_test_set(sealed: tuple[SealedTestSet, Path]) -> None:
    test_set, _ = sealed
    file = test_set.folder / "sealed.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "subjects": []}))
    with pytest.raises(LockoutError, match="not as it was sealed"):
        SealedTestSet(test_set.folder)
    assert run(["testset", "verify", str(test_set.folder)]) == 1
    with pytest.raises(InputError, match="minivess testset seal"):
        SealedTestSet(test_set.folder / "nothing")


def test_fingerprints_differ_where_voxels_do() -> None:
    noise = np.random.default_rng(0)
    array = noise.integers(0, 200, (8, 9, 4), dtype=np.uint8)
    volume = Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), "um")
    changed = array.copy()
    changed[0, 0, 0] += 1
    assert fingerprint(volume) != fingerprint(volume.with_array(changed))
    assert fingerprint(volume) != fingerprint(Volume(array[:, :, :3], volume.affine, "um"))
    assert fingerprint(volume) == fingerprint(Volume(array[::-1].astype(np.float32), volume.affine, "um"))


@pytest.mark.row(51)
def test_a_seal_elsewhere_is_found_from_the_data_set(sealed: tuple[SealedTestSet, Path], tmp_path: Path) -> None:
    test_set, data = sealed
    assert find_sealed(data) == test_set.folder
    test_set.folder.rename(tmp_path / "away")
    with pytest.raises(LockoutError, match="which is not there"):
        find_sealed(data)


@pytest.mark.row(51)
@pytest.mark.parametrize("stopped", ["before the entry", "after the entry"])
def test_an_interrupted_seal_leaves_the_old_one_or_the_new_one(
    sealed: tuple[SealedTestSet, Path], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    test_set, _ = sealed
    (item,) = read_dataset(dataset)["test"][:1]
    image = read_volume(item.image)
    other = write_volume(image.with_array(np.flip(image.array, 0) // 2 + 1), tmp_path / "other.nii.gz")
    rows = [{**item.to_item(), "image": str(other), "subject": "somebody else"}]

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(AuditChain, "append" if stopped == "before the entry" else "checkpoint", full_disk)
        with pytest.raises(OSError, match="No space"):
            SealedTestSet.seal(test_set.folder, rows, actor="ann")
    found = SealedTestSet(test_set.folder)
    assert ("somebody else" in found.subjects) == (stopped == "after the entry")
    assert "somebody else" in SealedTestSet.seal(test_set.folder, rows, actor="ann").subjects


def test_a_first_seal_that_was_interrupted_is_none(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    with monkeypatch.context() as patched:
        patched.setattr(AuditChain, "append", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert run(["testset", "seal", str(data)]) == 1
    assert find_sealed(data) is None
    assert run(["testset", "seal", str(data)]) == 0
    (data / "sealed_test" / "sealed.json").unlink()  # whoever removes it does not open the test set
    with pytest.raises(LockoutError, match="not the file that was sealed"):
        SealedTestSet(data / "sealed_test")
    assert find_sealed(data) is not None


def test_two_seals_at_once_keep_the_cases_of_both(dataset: Path, tmp_path: Path) -> None:
    images = sorted((dataset / "images").iterdir())
    rows = [[{"image": str(image), "subject": f"s{number}"}] for number, image in enumerate(images)]
    SealedTestSet.seal(tmp_path / "sealed", rows[0], actor="ann")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda row: SealedTestSet.seal(tmp_path / "sealed", row, actor="bob"), rows[1:]))
    assert SealedTestSet(tmp_path / "sealed").subjects == {f"s{number}" for number in range(len(images))}
