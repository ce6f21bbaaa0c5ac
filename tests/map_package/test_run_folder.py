"""A MAP's folder run without a container engine: the same result everywhere, limits, true exit codes, all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pydicom
import pytest
from waiting import wait_until

from minivess.errors import GeometryError, InputError
from minivess.map_package import run_package
from minivess.map_package.outputs import check_outputs

#: Attributes that say when an object was made.
TIMES = {"InstanceCreationTime", "InstanceCreationDate", "SeriesTime", "SeriesDate", "ContentTime", "ContentDate"}


def fake_package(folder: Path, program: str) -> Path:
    """Write a MAP's folder with an application of a few lines."""
    for path in ("etc/holoscan", "opt/holoscan/app", "opt/holoscan/models", "var/holoscan/input", "var/holoscan/output"):
        (folder / "root" / path).mkdir(parents=True)
    (folder / "root/opt/holoscan/app/__main__.py").write_text(program)
    environment = {"HOLOSCAN_OUTPUT_PATH": "/var/holoscan/output", "HOLOSCAN_INPUT_PATH": "/var/holoscan/input"}
    app = {"command": "python3 /opt/holoscan/app", "environment": environment, "workingDirectory": "/var/holoscan"}
    (folder / "root/etc/holoscan/app.json").write_text(json.dumps(app))
    (folder / "root/etc/holoscan/pkg.json").write_text(json.dumps({"applicationRoot": "/opt/holoscan/app"}))
    return folder


@pytest.fixture(scope="module")
def results(package: Path, series: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("results")
    for engine in ("process", "bubblewrap"):
        if engine == "bubblewrap" and shutil.which("bwrap") is None:
            continue
        code = run_package(str(package), series, folder / engine, engine=engine, arguments=["--any-modality"])
        assert code == 0
    return {path.name: path for path in folder.iterdir()}


def test_every_engine_gives_the_same_objects(results: dict[str, Path]) -> None:
    if len(results) < 2:
        pytest.skip("bubblewrap is not installed")
    names = sorted(f.name for f in results["process"].iterdir())
    assert names == ["measurements.sr.dcm", "result.json", "uncertainty.dcm", "vessels.seg.dcm"]
    for name in names[:1] + names[2:]:
        first, second = (pydicom.dcmread(results[engine] / name) for engine in ("process", "bubblewrap"))
        for dataset in (first, second):
            for keyword in TIMES & set(dataset.dir()):
                delattr(dataset, keyword)
            del dataset.ContributingEquipmentSequence  # holds the time, too
        assert first == second


@pytest.mark.requirement("R23")
def test_the_input_of_bubblewrap_is_read_only_and_there_is_no_network(tmp_path: Path, series: Path) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    program = """
import os, socket, pathlib
found = {}
for name, path in (("input", "/var/holoscan/input/x"), ("application", "/opt/holoscan/app/x"), ("root", "/x")):
    try:
        pathlib.Path(path).touch(); found[name] = "written"
    except OSError: found[name] = "refused"
try:
    socket.create_connection(("192.0.2.1", 9), timeout=2); found["network"] = "there"
except OSError: found["network"] = "none"
found["uid"] = os.getuid()
found["secret"] = os.environ.get("SECRET", "")
import json; pathlib.Path("/var/holoscan/output/found.json").write_text(json.dumps(found))
"""
    os.environ["SECRET"] = "x"
    try:
        assert run_package(str(fake_package(tmp_path / "map", program)), series, tmp_path / "out", engine="bubblewrap") == 0
    finally:
        del os.environ["SECRET"]
    found = json.loads((tmp_path / "out" / "found.json").read_text())
    assert found == {
        "input": "refused", "application": "refused", "root": "refused", "network": "none", "uid": 1000, "secret": "",
    }  # fmt: skip


@pytest.mark.parametrize("code", [1, 3, 42])
def test_the_exit_code_is_the_applications_and_nothing_is_left(tmp_path: Path, series: Path, code: int) -> None:
    program = f"import os, pathlib, sys; pathlib.Path(os.environ['HOLOSCAN_OUTPUT_PATH'], 'half').touch(); sys.exit({code})"
    assert run_package(str(fake_package(tmp_path / "map", program)), series, tmp_path / "out", engine="process") == code
    assert sorted(f.name for f in tmp_path.iterdir()) == ["map"]


def test_a_refusal_of_the_application_is_seen(package: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run_package(str(package), tmp_path / "empty", tmp_path / "out", engine="process") == 1
    assert "No DICOM" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_limit_of_time(tmp_path: Path, series: Path, capfd: pytest.CaptureFixture[str]) -> None:
    package = fake_package(tmp_path / "map", "import time; time.sleep(100)")
    assert run_package(str(package), series, tmp_path / "out", engine="process", timeout_s=1) == 124
    assert "limit of time" in capfd.readouterr().err


def test_the_limit_of_memory(tmp_path: Path, series: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = "import time; x = bytearray(300_000_000); time.sleep(100)"
    package = fake_package(tmp_path / "map", program)
    assert run_package(str(package), series, tmp_path / "out", engine="process", memory_bytes=200_000_000) == 137
    assert "limit of memory" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stop_ends_the_application(tmp_path: Path, series: Path) -> None:
    package = fake_package(tmp_path / "map", "import time; print('started', flush=True); time.sleep(100)")
    command = [sys.executable, "-m", "minivess", "map", "run", str(series), str(tmp_path / "out"), "--image", str(package)]
    with subprocess.Popen([*command, "--engine", "process"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
    wait_until(lambda: not any(child.is_running() for child in children))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["map"]


def test_no_output_is_no_success(tmp_path: Path, series: Path) -> None:
    with pytest.raises(InputError, match="wrote nothing"):
        run_package(str(fake_package(tmp_path / "map", "pass")), series, tmp_path / "out", engine="process")
    assert not (tmp_path / "out").exists()


def test_outputs_of_another_patient_are_not_given(results: dict[str, Path], series: Path, tmp_path: Path) -> None:
    shutil.copytree(results["process"], tmp_path / "result")
    assert len(check_outputs(tmp_path / "result", series)) == 4
    (tmp_path / "result" / "result.json").unlink()
    seg = pydicom.dcmread(tmp_path / "result" / "vessels.seg.dcm")
    seg.PatientID = "somebody-else"
    seg.save_as(tmp_path / "result" / "vessels.seg.dcm")
    with pytest.raises(GeometryError, match="another PatientID") as caught:
        check_outputs(tmp_path / "result", series)
    assert "somebody-else" not in str(caught.value)


def test_what_lies_beside_the_images_does_not_stand_for_them(results: dict[str, Path], series: Path, tmp_path: Path) -> None:
    shutil.copytree(results["process"], tmp_path / "result")
    shutil.copytree(series, tmp_path / "series")
    report = pydicom.dcmread(tmp_path / "result" / "measurements.sr.dcm")
    report.StudyInstanceUID = "1.2.3"  # of an earlier study
    report.save_as(tmp_path / "series" / "0000-earlier.dcm")
    assert len(check_outputs(tmp_path / "result", tmp_path / "series")) == 4
    report.PatientID = "somebody-else"
    report.save_as(tmp_path / "series" / "DICOMDIR")
    (tmp_path / "result" / "result.json").unlink()
    seg = pydicom.dcmread(tmp_path / "result" / "vessels.seg.dcm")
    seg.PatientID = "somebody-else"
    seg.save_as(tmp_path / "result" / "vessels.seg.dcm")
    with pytest.raises(GeometryError, match="another PatientID"):
        check_outputs(tmp_path / "result", tmp_path / "series")


def test_a_changed_output_is_not_given(results: dict[str, Path], series: Path, tmp_path: Path) -> None:
    shutil.copytree(results["process"], tmp_path / "result")
    content = bytearray((tmp_path / "result" / "vessels.seg.dcm").read_bytes())
    content[-1] ^= 1
    (tmp_path / "result" / "vessels.seg.dcm").write_bytes(content)
    with pytest.raises(InputError, match=r"not the file that result\.json names"):
        check_outputs(tmp_path / "result", series)


def test_a_folder_without_a_package_is_refused(tmp_path: Path, series: Path) -> None:
    with pytest.raises(InputError, match="is no MAP"):
        run_package(str(tmp_path), series, tmp_path / "out", engine="process")
