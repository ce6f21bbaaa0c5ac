"""The checker on folders: ours passes, and what hides a failure is named."""

from __future__ import annotations

from pathlib import Path

from map_package.test_run_folder import fake_package

from minivess.map_package import check_package
from minivess.map_package.folder import content_sha256


def test_ours_has_no_finding_and_stays_as_it_is(package: Path) -> None:
    before = content_sha256(package)
    assert [finding for finding in check_package(str(package)) if finding.result != "ok"] == []
    assert content_sha256(package) == before


def test_a_package_that_hides_failures_is_an_error(tmp_path: Path) -> None:
    findings = {f.check: f for f in check_package(str(fake_package(tmp_path / "map", "print('no input, never mind')")))}
    assert findings["command: exit code of a failure"].result == "error"
    assert "success" in findings["command: exit code of a failure"].detail


def test_a_missing_model_is_an_error(package: Path, tmp_path: Path) -> None:
    other = fake_package(tmp_path / "map", "import sys; sys.exit(1)")
    (other / "root/etc/holoscan/pkg.json").write_bytes((package / "root/etc/holoscan/pkg.json").read_bytes())
    findings = {f.check: f.result for f in check_package(str(other))}
    assert findings["path /opt/holoscan/models/vessels"] == "error"
