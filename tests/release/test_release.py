"""A release is whole, about the model that was evaluated, and any changed byte is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minivess
from minivess.cli.main import run
from minivess.errors import InputError, LockoutError, OutputError
from minivess.models import load_bundle, weights_path
from minivess.paths import file_sha256
from minivess.release import create_keys, make_release, verify_folder
from minivess.release.advisories import audit_packages
from minivess.release.requirements import requirements, risks
from minivess.release.signature import PRIVATE_KEY, SIGNATURE


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return create_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def report(dataset: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "report"
    command = ["evaluate", str(dataset), "--bundle", str(bundle), "--section", "validation", "--report", str(folder), "--json"]
    assert run(command) == 0
    return folder


@pytest.fixture(scope="module")
def release(bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "release"
    make_release(bundle, folder, private_key=keys[0], report=report)
    return folder


def test_it_holds_what_an_auditor_asks_for(release: Path, bundle: Path, keys: tuple[Path, Path]) -> None:
    verify_folder(release, keys[1])
    content = json.loads((release / "release.json").read_text())
    assert content["weights_sha256"] == file_sha256(weights_path(bundle)) == file_sha256(weights_path(release / "bundle"))
    assert content["advisories"]["affecting"] == []
    assert content["evaluation"]["section"] == "validation"
    components = json.loads((release / "sbom.cdx.json").read_text())["components"]
    licences = json.loads((release / "licences.json").read_text())
    assert {f"{c['name']} {c['version']}" for c in components} == set(licences)
    assert (release / "report" / "report.html").is_file()
    assert not list(release.rglob("*private*"))


@pytest.mark.requirement("R24")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_named(release: Path, keys: tuple[Path, Path], data: st.DataObject) -> None:
    files = sorted(f for f in release.rglob("*") if f.is_file() and f.stat().st_size)
    file = data.draw(st.sampled_from(files))
    before = file.read_bytes()
    position = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[position] ^= data.draw(st.integers(1, 255))
    file.write_bytes(changed)
    try:
        with pytest.raises(LockoutError) as caught:
            verify_folder(release, keys[1])
        if file.name != SIGNATURE:
            assert str(file.relative_to(release)) in str(caught.value)
    finally:
        file.write_bytes(before)
    verify_folder(release, keys[1])


def test_a_file_more_or_less_is_named(release: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    more = Path(shutil.copytree(release, tmp_path / "more"))
    (more / "bundle" / "extra.txt").write_text("x")
    with pytest.raises(LockoutError, match=r"extra\.txt"):
        verify_folder(more, keys[1])
    less = Path(shutil.copytree(release, tmp_path / "less"))
    (less / "licences.json").unlink()
    with pytest.raises(LockoutError, match=r"licences\.json"):
        verify_folder(less, keys[1])
    (less / SIGNATURE).unlink()
    with pytest.raises(InputError, match="no release"):
        verify_folder(less, keys[1])


def test_another_key_is_no_key(release: Path, tmp_path: Path) -> None:
    _, public = create_keys(tmp_path)
    with pytest.raises(LockoutError, match="not as it was signed"):
        verify_folder(release, public)
    with pytest.raises(OutputError, match="There is a public key"):
        create_keys(tmp_path)
    (tmp_path / PRIVATE_KEY).rename(tmp_path / "apart.pem")  # as it is advised
    with pytest.raises(OutputError, match="There is a public key"):
        create_keys(tmp_path)
    public.unlink()
    (tmp_path / "apart.pem").rename(tmp_path / PRIVATE_KEY)
    with pytest.raises(OutputError, match="There is a key"):
        create_keys(tmp_path)


def test_a_changed_configuration_is_no_released_bundle(release: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(release / "bundle", tmp_path / "bundle"))
    assert load_bundle(bundle).model.release
    file = bundle / "configs" / "inference.yaml"
    file.write_text(file.read_text() + "min_piece_mass: 1.0\n")
    assert load_bundle(bundle).model.release == ""


def test_results_of_another_version_show_nothing(bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    file = results_file(tmp_path)
    file.write_text(file.read_text().replace(minivess.__version__, "0.0.1"))
    with pytest.raises(LockoutError, match=r"The test results are of minivess 0\.0\.1"):
        make_release(bundle, tmp_path / "r", private_key=keys[0], report=report, tests=file)


def test_a_report_of_another_model_is_refused(bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads((report / "report.json").read_text())
    for model in content["models"].values():
        model["weights_sha256"] = "0" * 64
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="another model"):
        make_release(bundle, tmp_path / "r", private_key=keys[0], report=tmp_path / "report")
    with pytest.raises(InputError, match="no evaluation report"):
        make_release(bundle, tmp_path / "r", private_key=keys[0], report=tmp_path)
    assert not (tmp_path / "r").exists()


def test_a_report_of_another_configuration_is_refused(
    bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    changed = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    file = changed / "configs" / "inference.yaml"
    file.write_text(file.read_text().replace("threshold: expected_dice", "threshold: 0.999"))
    with pytest.raises(InputError, match=r"another configs/inference\.yaml"):
        make_release(changed, tmp_path / "r", private_key=keys[0], report=report)
    (tmp_path / "report").mkdir()
    content = json.loads((report / "report.json").read_text())
    (tmp_path / "report" / "report.json").write_text(json.dumps({**content, "section": "training"}))
    with pytest.raises(InputError, match="training cases"):
        make_release(bundle, tmp_path / "r", private_key=keys[0], report=tmp_path / "report")


def test_the_card_says_where_scores_are_of_learned_subjects(
    bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    copy, remark = Path(shutil.copytree(report, tmp_path / "report")), "It has learned 3 of these subjects."
    content = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps({**content, "remarks": [remark]}))
    made = make_release(bundle, tmp_path / "r", private_key=keys[0], report=copy)
    assert remark in (tmp_path / "r" / "model_card.md").read_text()
    assert made["evaluation"]["remarks"] == [remark]


def results_file(folder: Path, **outcomes: str) -> Path:
    """Test results in which all requirements are shown, but for the given ones."""
    all_of_them = {name: {"tests/test_x.py::test_y": outcomes.get(name, "passed")} for name in requirements()}
    file = folder / "requirements.json"
    file.write_text(
        json.dumps(
            {
                "commit": "c0ffee",
                "version": minivess.__version__,
                "finished_utc": "2026-01-01T00:00:00+00:00",
                "outcomes": all_of_them,
            }
        )
    )
    return file


def test_the_documents_name_requirements_with_their_tests_risks_and_packages(
    bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    content = make_release(bundle, tmp_path / "r", private_key=keys[0], report=report, tests=results_file(tmp_path))
    assert content["tests"]["commit"] == "c0ffee"
    documents = {file.name: file.read_text() for file in (tmp_path / "r" / "documents").iterdir()}
    assert all(f"| {name} |" in documents["requirements.md"] for name in requirements())
    assert "`tests/test_x.py::test_y` passed" in documents["requirements.md"]
    assert all(f"| {name} | {risk.hazard} |" in documents["risks.md"] for name, risk in risks().items())
    assert "| `store` |" in documents["architecture.md"]
    assert "| numpy | " in documents["soup.md"]
    assert content["weights_sha256"] in documents["plan.md"]
    card = (tmp_path / "r" / "model_card.md").read_text()
    assert "| clDice | " in card
    assert "Not a medical device" in card


def test_without_test_results_the_documents_say_so(release: Path) -> None:
    assert "nothing here is shown by a test of this release" in (release / "documents" / "requirements.md").read_text()
    assert json.loads((release / "release.json").read_text())["tests"] is None


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_requirement_without_a_passing_test_stops_a_release(
    bundle: Path, report: Path, keys: tuple[Path, Path], tmp_path: Path, outcome: str
) -> None:
    with pytest.raises(LockoutError, match=r"No passing test shows: R07 \(The configuration of a bundle is data"):
        make_release(bundle, tmp_path / "r", private_key=keys[0], report=report, tests=results_file(tmp_path, R07=outcome))
    assert not (tmp_path / "r").exists()


def test_every_risk_is_controlled_by_requirements_that_exist_and_every_requirement_controls_one() -> None:
    controls = [name for risk in risks().values() for name in risk.controls]
    assert set(controls) == set(requirements())
    assert {risk.severity for risk in risks().values()} <= {"negligible", "minor", "serious"}


def test_the_commands(
    bundle: Path, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["release", "keys", str(tmp_path / "keys")]) == 0
    assert (tmp_path / "keys" / "release_private.pem").stat().st_mode & 0o077 == 0
    key, public = (str(tmp_path / "keys" / f"release_{name}.pem") for name in ("private", "public"))
    assert run(["release", "make", str(bundle), "--report", str(report), "--key", key, "--out", str(tmp_path / "r")]) == 0
    assert run(["release", "verify", str(tmp_path / "r"), "--key", public]) == 0
    assert "As signed" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert run(["release", "make", str(bundle), "--report", str(report), "--key", key, "--out", "relative"]) == 0
    assert run(["release", "verify", "relative", "--key", public]) == 0
    (tmp_path / "r" / "release.json").write_text("{}")
    assert run(["release", "verify", str(tmp_path / "r"), "--key", public]) == 1
    assert "release.json" in capsys.readouterr().err


@pytest.mark.requirement("R25")
def test_an_advisory_is_found_and_a_blind_snapshot_refused(tmp_path: Path) -> None:
    (found,) = audit_packages({"torch": "2.5.1", "monai": "1.6.1"})[:1]
    assert (found.package, found.fixed_in) == ("torch", "2.6.0")
    assert audit_packages({"torch": "2.13.0", "monai": "1.6.1"}) == []
    blind = {"canary": {"package": "minivess-canary", "version": "0.0.1"}, "advisories": []}
    (tmp_path / "a.json").write_text(json.dumps(blind))
    with pytest.raises(InputError, match="canary"):
        audit_packages({}, snapshot=tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        audit_packages({}, snapshot=tmp_path / "a.json")
