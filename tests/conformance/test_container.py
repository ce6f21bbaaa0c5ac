"""The MAP as an image, in a real Docker engine and in podman: built without a network, run without one, and judged."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pydicom
import pytest
from conformance.container_engines import base_archive, docker_daemon, import_base, missing_programs, podman_environment
from dicom.test_series import ORIENTATIONS, volume_of
from map_package.test_run_folder import TIMES
from untrained import untrained_bundle

from minivess.dicom import write_series
from minivess.map_package import check_package, find_engine, run_package, write_package
from minivess.paths import resource_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
    pytest.mark.skipif(os.getuid() != 0, reason="a Docker daemon of its own needs root"),
]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    return write_package(untrained_bundle(resource_path("bundles/segresnet"), folder / "vessels"), folder / "package")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(volume_of(ORIENTATIONS["oblique"], (40, 36, 9)), tmp_path_factory.mktemp("dicom") / "in", name="oblique")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_archive(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module", params=["docker", "podman"])
def image(request: pytest.FixtureRequest, content: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    """Build the image in an engine; yield the engine's name."""
    folder = tmp_path_factory.mktemp(request.param)
    before = dict(os.environ)
    try:
        if request.param == "docker":
            with docker_daemon(folder) as address:
                os.environ["DOCKER_HOST"] = address
                yield _built("docker", content, base)
        else:
            with podman_environment(folder) as variables:
                os.environ.update(variables)
                yield _built("podman", content, base)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _built(engine: str, content: Path, base: Path) -> str:
    import_base(engine, base, "localhost/minivess-base:12")
    find_engine(engine).build(content, "localhost/minivess-test:1", base="localhost/minivess-base:12")
    return engine


NAME = "localhost/minivess-test:1"


@pytest.mark.requirement("R23")
def test_the_image_gives_the_objects_of_a_plain_process(image: str, content: Path, series: Path, tmp_path: Path) -> None:
    assert run_package(NAME, series, tmp_path / "image", engine=image, arguments=["--any-modality"]) == 0
    assert run_package(str(content), series, tmp_path / "folder", engine="bubblewrap", arguments=["--any-modality"]) == 0
    for name in ("vessels.seg.dcm", "uncertainty.dcm", "measurements.sr.dcm"):
        first, second = (pydicom.dcmread(tmp_path / place / name) for place in ("image", "folder"))
        for dataset in (first, second):
            for keyword in TIMES & set(dataset.dir()):
                delattr(dataset, keyword)
            del dataset.ContributingEquipmentSequence
        assert first == second
    assert {f.stat().st_uid for f in (tmp_path / "image").iterdir()} == {os.getuid()}


def test_the_checker_finds_nothing(image: str) -> None:
    assert [finding for finding in check_package(NAME, engine=image) if finding.result != "ok"] == []


def test_an_entry_script_that_hides_failures_is_an_error(image: str, tmp_path: Path) -> None:
    (tmp_path / "tools").write_text('#!/bin/sh\npython3 /opt/holoscan/app "$@"\necho finished\n')
    (tmp_path / "tools").chmod(0o755)
    (tmp_path / "Containerfile").write_text(f"FROM {NAME}\nCOPY tools /var/holoscan/tools\nUSER 0\n")
    command = [image, "build", "--tag", "localhost/minivess-bad:1", "--file", str(tmp_path / "Containerfile"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    findings = {f.check: f.result for f in check_package("localhost/minivess-bad:1", engine=image)}
    assert findings["entry script: exit code of a failure"] == "error"
    assert findings["user"] == "warning"
    assert findings["command: exit code of a failure"] == "ok"


def test_too_little_memory_is_said_and_leaves_nothing(
    image: str, series: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code = run_package(NAME, series, tmp_path / "out", engine=image, memory_bytes=200 * 2**20, arguments=["--any-modality"])
    assert code in (3, 137)  # the kernel ends the child that computes, or the whole container
    assert "memory" in capfd.readouterr().err
    assert [file.name for file in tmp_path.rglob("*")] == ["here"]


def test_the_limit_of_time_ends_the_container(image: str, series: Path, tmp_path: Path) -> None:
    assert run_package(NAME, series, tmp_path / "out", engine=image, timeout_s=2, arguments=["--any-modality"]) == 124
    deadline = time.monotonic() + 30
    while (left := _running(image)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert left == []


def test_show_env_and_help(image: str) -> None:
    def ask(*words: str) -> str:
        command = [image, "run", "--rm", "--network", "none", "--read-only", NAME, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert json.loads(ask("show", "app"))["command"] == "python3 /opt/holoscan/app"
    assert json.loads(ask("show", "pkg"))["models"][0]["name"] == "vessels"
    assert "HOLOSCAN_INPUT_PATH=/var/holoscan/input" in ask("env").splitlines()
    assert "extract" in ask("help")


def test_extract(image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    command = [image, "run", "--rm", "--network", "none", "--volume", f"{tmp_path}:/var/run/holoscan/export", NAME, "extract"]
    subprocess.run(command, check=True, capture_output=True)
    assert {f.name for f in tmp_path.iterdir()} == {"app", "config", "models", "docs"}
    assert (tmp_path / "docs" / "sbom.cdx.json").is_file()


def _running(engine: str) -> list[str]:
    listed = subprocess.run([engine, "ps", "--format", "{{.Names}}"], check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split() if name.startswith("minivess-map-")]
