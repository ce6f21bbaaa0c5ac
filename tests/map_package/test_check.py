"""The checker on folders: ours passes, what hides a failure is named, and what others wrote has no rights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from map_package.test_run_folder import fake_package

from minivess.errors import EngineError
from minivess.map_package import check_package
from minivess.map_package.folder import content_sha256

ENGINE = "bubblewrap" if shutil.which("bwrap") else "process"


def test_ours_has_no_finding_and_stays_as_it_is(package: Path) -> None:
    before = content_sha256(package)
    assert [finding for finding in check_package(str(package), engine="process") if finding.result != "ok"] == []
    assert content_sha256(package) == before


def test_a_package_that_hides_failures_is_an_error(tmp_path: Path) -> None:
    package = fake_package(tmp_path / "map", "print('no input, never mind')")
    findings = {f.check: f for f in check_package(str(package), engine=ENGINE)}
    assert findings["command: exit code of a failure"].result == "error"
    assert "success" in findings["command: exit code of a failure"].detail


def test_a_missing_model_is_an_error(package: Path, tmp_path: Path) -> None:
    other = fake_package(tmp_path / "map", "import sys; sys.exit(1)")
    (other / "root/etc/holoscan/pkg.json").write_bytes((package / "root/etc/holoscan/pkg.json").read_bytes())
    findings = {f.check: f.result for f in check_package(str(other), engine=ENGINE)}
    assert findings["path /opt/holoscan/models/vessels"] == "error"


@pytest.mark.skipif(ENGINE == "process", reason="bubblewrap is not installed")
def test_the_package_of_others_runs_in_bubblewrap(tmp_path: Path) -> None:
    written = tmp_path / "written"
    package = fake_package(tmp_path / "map", f"open({str(written)!r}, 'w')")
    findings = {f.check: f for f in check_package(str(package))}
    assert findings["command: exit code of a failure"].result == "ok"  # it could not write, and failed
    assert not written.exists()


def test_without_bubblewrap_it_is_not_run_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = fake_package(tmp_path / "map", f"open({str(tmp_path / 'written')!r}, 'w')")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="--engine process"):
        check_package(str(package))
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("manifest", "field", "value", "message"),
    [
        ("app", "command", 5, "command must be a text or a list. Got 5"),
        ("app", "command", 'python3 "app', "command is no command line"),
        ("app", "environment", ["A"], "environment must be an object"),
        ("app", "input", "in", "input must be an object"),
        ("app", "timeout", "10m", "timeout must be a number"),
        ("app", "timeout", -1, "timeout must be 0, for none, or seconds"),
        ("app", "command", "[" * 5000, "no command line"),
        ("app", "command", "a\0b", "the character NUL"),
        ("app", "environment", {"A=B": "c"}, "with = in it"),
        ("pkg", "resources", [1], "resources must be an object"),
        ("pkg", "models", ["m"], "models[0] must be an object with a name"),
    ],
)
def test_a_field_of_another_type_is_a_finding(tmp_path: Path, manifest: str, field: str, value: object, message: str) -> None:
    package = fake_package(tmp_path / "map", "import sys; sys.exit(1)")
    file = package / "root/etc/holoscan" / f"{manifest}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    (finding,) = check_package(str(package), engine="process")
    assert (finding.check, finding.result) == ("manifests", "error")
    assert message in finding.detail


def test_a_program_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    package = fake_package(tmp_path / "map", "")
    file = package / "root/etc/holoscan/app.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "command": "no-such-program", "version": 1.0}))
    findings = {f.check: f for f in check_package(str(package), engine="process")}
    assert "did not start: No such file" in findings["command: exit code of a failure"].detail
    assert findings["app.json: version"].result == "warning"


def test_a_package_without_a_command_is_not_run(tmp_path: Path) -> None:
    package = fake_package(tmp_path / "map", "")
    (package / "root/etc/holoscan/app.json").write_text("{}")
    findings = {f.check: f.result for f in check_package(str(package), engine=ENGINE)}
    assert findings["app.json: command"] == "error"
    assert not [check for check in findings if "exit code" in check]


@pytest.mark.skipif(ENGINE == "process", reason="bubblewrap is not installed")
def test_a_command_gives_itself_no_rights(tmp_path: Path) -> None:
    package = fake_package(tmp_path / "map", "")
    file = package / "root/etc/holoscan/app.json"
    command = ["--bind", str(tmp_path), "/tmp", "touch", "/tmp/written"]
    file.write_text(json.dumps({**json.loads(file.read_text()), "command": command}))
    check_package(str(package))
    assert not (tmp_path / "written").exists()
