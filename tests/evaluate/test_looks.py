"""Looks at the sealed test set: a second person, a budget, few digits, and no way round."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import rankdata
from skimage.measure import block_reduce
from skimage.transform import resize

from minivess.cli.main import run
from minivess.datasets.dataset import SEAL_FOLDER
from minivess.errors import InputError, LockoutError
from minivess.evaluate import SealedTestSet, approve_look, count_looks, open_look, tell_scores
from minivess.evaluate.likeness import _best_turn, shows_the_same, thumbnail
from minivess.evaluate.looks import ladder_step
from minivess.synth import make_sample
from minivess.volume import Volume, read_volume, write_volume


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(dataset, tmp_path / "data"))
    assert run(["testset", "seal", str(copy), "--looks", "2"]) == 0
    return copy


@pytest.fixture
def sealed(data: Path) -> SealedTestSet:
    return SealedTestSet(data / SEAL_FOLDER)


def look(sealed: SealedTestSet, approver: str = "boss", reader: str = "me") -> None:
    approve_look(sealed, reason="final table", actor=approver)
    open_look(sealed, model="m", weights_sha256="0" * 64, actor=reader)


@pytest.mark.requirement("R16")
def test_nobody_opens_it_alone(sealed: SealedTestSet) -> None:
    with pytest.raises(LockoutError, match="A second person"):
        open_look(sealed, model="m", weights_sha256="0", actor="me")
    approve_look(sealed, reason="final table", actor="me")
    with pytest.raises(LockoutError, match="your own approval does not count"):
        open_look(sealed, model="m", weights_sha256="0", actor="me")
    refusals = [e for e in sealed.chain.entries() if e["action"] == "testset.refuse"]
    assert len(refusals) == 2
    assert count_looks(sealed) == 0


def test_an_approval_is_for_one_look(sealed: SealedTestSet) -> None:
    look(sealed)
    with pytest.raises(LockoutError, match="A second person"):
        open_look(sealed, model="m", weights_sha256="0", actor="me")


@pytest.mark.requirement("R16")
def test_the_budget_ends(sealed: SealedTestSet) -> None:
    look(sealed)
    approve_look(sealed, reason="once more", actor="boss")
    approve_look(sealed, reason="in reserve", actor="boss")
    assert open_look(sealed, model="m", weights_sha256="0", actor="me").sentence().startswith("Look 2 of 2")
    with pytest.raises(LockoutError, match="opened 2 times"):
        open_look(sealed, model="m", weights_sha256="0", actor="me")
    with pytest.raises(LockoutError, match="opened 2 times"):
        approve_look(sealed, reason="please once more", actor="boss")


def test_a_reason_is_a_reason(sealed: SealedTestSet) -> None:
    for reason in ("", "x", "   "):
        with pytest.raises(InputError, match="why"):
            approve_look(sealed, reason=reason, actor="boss")


def test_the_ladder_tells_only_real_progress(sealed: SealedTestSet) -> None:
    def ask(score: float) -> str:
        return tell_scores(sealed, model="m", means={"dsc": score}, errors={"dsc": 0.02}, actor="me")["dsc"]

    assert ask(0.8312) == "0.84 (to 0.02)"
    assert ask(0.846) == "not better than 0.84 by 0.02"
    assert ask(0.70) == "not better than 0.84 by 0.02"
    assert ask(0.861) == "0.86 (to 0.02)"
    other = tell_scores(sealed, model="n", means={"dsc": 0.7}, errors={}, actor="me")
    assert other == {"dsc": "0.7 (to 0.05)"}


@given(st.floats(0, 1))
def test_a_step_is_never_finer_than_a_hundredth(error: float) -> None:
    assert ladder_step(error) >= 0.01


def log_in(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Be another user of the machine, which a test without its rights cannot."""
    users = SimpleNamespace(getpwuid=lambda _: SimpleNamespace(pw_name=name))
    monkeypatch.setattr("minivess.store.actor.pwd", users)


def test_the_command_tells_rounded_means_and_nothing_else(
    data: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["evaluate", str(data), "--bundle", str(bundle), "--report", str(tmp_path / "report")]
    assert run(command) == 1
    assert "minivess testset approve" in capsys.readouterr().err
    log_in(monkeypatch, "boss")
    assert run(["testset", "approve", str(data / SEAL_FOLDER), "--reason", "final table"]) == 0
    log_in(monkeypatch, "reader")
    monkeypatch.setenv("LOGNAME", "somebody")  # does not count
    capsys.readouterr()
    assert run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["look"] == "Look 1 of 2 at the sealed test set, by reader, approved by boss: final table"
    assert set(told["scores_told"]) == {"dsc", "cldice", "nsd"}
    written = (tmp_path / "report" / "report.json").read_text() + (tmp_path / "report" / "report.html").read_text()
    assert "stack3" not in written.replace('"stack3"\n', "")  # the subject is named, the case and its scores are not
    assert "<img" not in written
    assert run(["testset", "verify", str(data / SEAL_FOLDER), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["looks"] == 1


@pytest.mark.requirement("R15")
@pytest.mark.row(51)
def test_calibration_and_merging_refuse_it(
    data: Path, bundle: Path, capsys: pytest.CaptureFixture[str], sealed: SealedTestSet
) -> None:
    assert run(["calibrate", str(data), "--bundle", str(bundle), "--section", "test", "--alpha", "0.6"]) == 1
    content = json.loads((data / "dataset.json").read_text())
    content["validation"] = content["test"]
    content["test"] = []
    (data / "dataset.json").write_text(json.dumps(content))
    weights = str(bundle / "models" / "model.safetensors")
    assert run(["bundle", "merge", weights, weights, "--bundle", str(bundle), "--data", str(data)]) == 1
    text = capsys.readouterr().err
    assert "1 cases for calibration belong" in text
    assert "1 cases for merging belong" in text
    purposes = [e["details"]["purpose"] for e in sealed.chain.entries() if e["action"] == "testset.refuse"]
    assert purposes == ["calibration", "merging"]


def stack(seed: int) -> Volume:
    return make_sample("capillary", seed=seed, shape=(96, 96, 24)).image


RNG = np.random.default_rng(0)
CHANGES = {
    "gamma": lambda a: (a - a.min() + 1e-3) ** 0.5,
    "noise": lambda a: a + RNG.normal(0, 0.4 * a.std(), a.shape),
    "smoothed": lambda a: ndimage.gaussian_filter(a, 1.0),
    "cropped": lambda a: a[3:-3, 3:-3, 1:],
    "half the resolution": lambda a: resize(a, (48, 48, 12), order=1, anti_aliasing=True),
    "turned": lambda a: a[::-1].transpose(1, 2, 0),
    "clipped": lambda a: np.clip(a, np.percentile(a, 5), np.percentile(a, 95)),
}


@pytest.mark.row(51)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("change", list(CHANGES))
def test_a_near_duplicate_is_known(change: str, seed: int) -> None:
    image = stack(seed)
    changed = np.ascontiguousarray(CHANGES[change](image.array.astype(np.float64)).astype(np.float32))
    other = image.with_array(changed) if changed.shape == image.shape else Volume(changed, image.affine, image.unit)
    assert shows_the_same(thumbnail(image), thumbnail(other))
    assert shows_the_same(thumbnail(other), thumbnail(image))


def test_other_fields_of_view_are_no_duplicates() -> None:
    pictures = [thumbnail(stack(seed)) for seed in range(6)]
    assert not any(shows_the_same(a, b) for a, b in combinations(pictures, 2))


def test_heads_of_two_people_are_no_duplicates_though_they_are_alike_and_those_of_one_are() -> None:
    heads = [make_sample("cta", seed, shape=(128, 128, 96)).image for seed in (0, 7)]
    pictures = [thumbnail(head) for head in heads]
    assert max(_best_turn(a, b)[0] for a, b in combinations(pictures, 2)) > 0.6
    assert not any(shows_the_same(a, b) for a, b in combinations(pictures, 2))
    for head, picture in zip(heads, pictures, strict=True):
        cropped = np.ascontiguousarray(head.array[5:-5, 5:-5, 4:-4])
        assert shows_the_same(picture, thumbnail(Volume(cropped, head.affine, head.unit)))


def test_a_test_set_that_was_sealed_with_smaller_thumbnails_still_knows_its_cases() -> None:
    small = earlier_thumbnail(stack(0).array)
    assert shows_the_same(thumbnail(stack(0)), small)
    assert shows_the_same(thumbnail(stack(0).with_array(ndimage.gaussian_filter(stack(0).array.astype(np.float32), 0.7))), small)
    assert not shows_the_same(thumbnail(stack(1)), small)


def earlier_thumbnail(array: np.ndarray) -> np.ndarray:
    """What test sets contain that were sealed before December 2026."""
    coarse = resize(np.sqrt(np.clip(block_reduce(array, (2, 2, 1), np.mean) - np.percentile(array, 1), 0, None)), (12, 12, 12),
                    order=1, anti_aliasing=True, mode="edge")  # fmt: skip
    for axis in range(3):
        coarse = coarse - coarse.mean(axis=tuple({0, 1, 2} - {axis}), keepdims=True)
    order = rankdata(coarse.ravel()).reshape(coarse.shape)
    return np.asarray(255 * (order - 1) / (order.size - 1)).round().astype(np.uint8)


@pytest.mark.row(51)
def test_a_denoised_copy_under_another_name_is_refused(sealed: SealedTestSet, data: Path, tmp_path: Path) -> None:
    image = read_volume(data / "images" / "stack3.nii.gz")
    copy = image.with_array(ndimage.gaussian_filter(image.array.astype(np.float32), 0.6) * 3 + 7)
    file = write_volume(copy, tmp_path / "harmless.nii.gz")
    with pytest.raises(LockoutError, match="shows what a test case shows"):
        sealed.refuse([{"image": str(file), "subject": "somebody"}], purpose="training", actor="x")
