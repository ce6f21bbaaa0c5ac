"""An engine that fails is named with its own words; what it was to run is not blamed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from map_package.test_run_folder import fake_package

from minivess.errors import EngineError
from minivess.map_package import check_package, run_package
from minivess.map_package.engines import Engine, find_engine, find_image


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A podman that answers and has every image, and cannot start a container."""
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\ncase $1 in info|image) echo '[{}]';; *) echo 'crun: not permitted' >&2; exit 126;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


def test_a_container_that_cannot_start_is_the_engines_fault(broken: Path) -> None:
    engine = find_engine("podman")
    assert engine.inspect("vessels:1") == {}
    with pytest.raises(EngineError, match=r"podman create failed \(126\): crun: not permitted"):
        engine.read_files("vessels:1", ["/etc/holoscan/app.json"])
    with pytest.raises(EngineError, match="Is the base image there"):
        engine.build(broken.parent, "vessels:1")


def test_a_container_that_is_made_and_cannot_run_is_the_engines_fault(broken: Path, tmp_path: Path) -> None:
    package = fake_package(tmp_path / "map", "")
    for name in ("app", "pkg"):
        with tarfile.open(tmp_path / f"{name}.json.tar", "w") as archive:
            archive.add(package / f"root/etc/holoscan/{name}.json", f"{name}.json")
    broken.write_text(
        "#!/bin/sh\ncase $1 in info|image) echo '[{}]';; create|rm|container) ;; "
        f"cp) cat {tmp_path}/$(basename $2).tar;; *) echo 'crun: not permitted' >&2; exit 126;; esac\n"
    )
    (tmp_path / "in").mkdir()
    with pytest.raises(EngineError, match=r"podman cannot run vessels:1 \(126\)"):
        run_package("vessels:1", tmp_path / "in", tmp_path / "out", engine="podman")
    assert not (tmp_path / "out").exists()
    with pytest.raises(EngineError, match="crun: not permitted"):
        check_package("vessels:1", engine="podman")


def test_a_file_that_the_image_does_not_have_is_no_fault_of_the_engine(broken: Path) -> None:
    broken.write_text("#!/bin/sh\n[ $1 != cp ]\n")
    assert Engine("podman").read_files("vessels:1", ["/etc/holoscan/app.json"]) == {}


def test_an_engine_that_does_not_answer_is_named(broken: Path) -> None:
    broken.write_text("#!/bin/sh\necho 'no socket' >&2\nexit 125\n")
    with pytest.raises(EngineError, match=r"podman does not answer \(no socket\)"):
        find_engine("podman")


def test_the_engine_that_has_the_image_is_taken(broken: Path) -> None:
    docker = broken.with_name("docker")
    docker.write_text("#!/bin/sh\n[ $1 = info ]\n")  # it answers, and has no image
    docker.chmod(0o755)
    assert find_image("vessels:1").name == "podman"
    with pytest.raises(EngineError, match="docker has no image vessels:1"):
        find_image("vessels:1", "docker")
    broken.write_text("#!/bin/sh\n[ $1 = info ]\n")
    with pytest.raises(EngineError, match=r"docker has no image vessels:1.*podman has no image vessels:1"):
        find_image("vessels:1")


def test_an_engine_that_hangs_is_given_up(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivess.map_package.engines._INFO_S", 0.3)
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(EngineError, match=r"podman info did not answer within 0.3 s"):
        find_engine("podman")
