"""The application through its real entry, as a process: exit codes, all of the output or none, valid DICOM."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from dicom.enhanced import make_enhanced
from dicom.test_seg import dciodvfy
from dicom.test_series import ORIENTATIONS, edit, volume_of
from geometries import resample_like
from small_bundles import with_quality

from minivess.dicom import read_seg, read_series, write_series
from minivess.models import load_bundle
from minivess.uncertainty.quality import quality_of

ROOT = Path(__file__).resolve().parents[2]


def run_map(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maps.vessel_seg", *map(str, arguments)]
    command += [] if arguments[:1] in ((), ("--strict",), ("--nonsense",)) else ["--any-modality"]
    command = [word for word in command if word != "--strict"]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=variables, timeout=300)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS["oblique"], (40, 36, 9)), tmp_path / "in", name="oblique")


@pytest.mark.requirement("R04")
def test_a_series_becomes_a_seg_and_a_report(series: Path, bundle: Path, tmp_path: Path) -> None:
    done = run_map("-i", series, "-o", tmp_path / "out", "-m", bundle)
    assert done.returncode == 0, done.stderr
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "measurements.sr.dcm",
        "result.json",
        "uncertainty.dcm",
        "vessels.seg.dcm",
    ]
    for name in ("vessels.seg.dcm", "uncertainty.dcm", "measurements.sr.dcm"):
        assert dciodvfy(tmp_path / "out" / name) == []
    report = json.loads((tmp_path / "out" / "result.json").read_text())
    expected = load_bundle(bundle, device="cpu").predict(read_series(series).volume).mask
    seg = read_seg(tmp_path / "out" / "vessels.seg.dcm")
    assert expected.array.any()
    assert np.array_equal(resample_like(seg, expected).array, expected.array)
    assert set(report["files"]) == {"vessels.seg.dcm", "uncertainty.dcm", "measurements.sr.dcm"}
    assert report["vessel_voxels"] == int(expected.array.sum())
    assert report["quality"] is None, "it was not calibrated"
    assert any("check the result" in note for note in report["notes"])
    assert "Segmentation fault" not in done.stderr


def test_a_calibrated_model_says_what_its_result_is_expected_to_be_worth(series: Path, bundle: Path, tmp_path: Path) -> None:
    model = with_quality(Path(shutil.copytree(bundle, tmp_path / "model")))
    done = run_map("-i", series, "-o", tmp_path / "out", "-m", model)
    assert done.returncode == 0, done.stderr
    expected = quality_of(model, load_bundle(model, device="cpu").predict(read_series(series).volume))
    assert expected is not None
    assert json.loads((tmp_path / "out" / "result.json").read_text())["quality"] == expected.to_json()


def test_pictures_are_written_where_they_are_asked_for(series: Path, bundle: Path, tmp_path: Path) -> None:
    done = run_map("-i", series, "-o", tmp_path / "out", "-m", bundle, "--only-seg", "--pictures", "--seg-type", "labelmap")
    assert done.returncode == 0, done.stderr
    pictures = [f"picture.{number:04d}.dcm" for number in range(1, 10)]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [*pictures, "result.json", "vessels.seg.dcm"]
    assert set(json.loads((tmp_path / "out" / "result.json").read_text())["files"]) == {*pictures, "vessels.seg.dcm"}
    assert pydicom.dcmread(tmp_path / "out" / "vessels.seg.dcm").SegmentationType == "LABELMAP"


def test_an_enhanced_image_gives_the_result_of_its_single_frames(series: Path, bundle: Path, tmp_path: Path) -> None:
    enhanced = make_enhanced(series, tmp_path / "enhanced")
    for source, target in ((series, tmp_path / "single"), (enhanced, tmp_path / "multi")):
        done = run_map("-i", source, "-o", target, "-m", bundle)
        assert done.returncode == 0, done.stderr
    single, multi = (read_seg(tmp_path / name / "vessels.seg.dcm") for name in ("single", "multi"))
    assert single.array.any()
    assert single.same_grid(multi)
    assert np.array_equal(single.array, multi.array)
    for name in ("vessels.seg.dcm", "uncertainty.dcm", "measurements.sr.dcm"):
        assert dciodvfy(tmp_path / "multi" / name) == []
    reports = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("single", "multi")]
    assert reports[0]["vessel_voxels"] == reports[1]["vessel_voxels"]


@pytest.mark.requirement("R21")
def test_no_patient_is_named_in_what_is_said_or_in_the_report(series: Path, bundle: Path, tmp_path: Path) -> None:
    def name(index: int, dataset: pydicom.Dataset) -> None:
        dataset.PatientName, dataset.PatientID = "SECRET-NAME", "SECRET-ID"

    edit(series, name)
    done = run_map("-i", series, "-o", tmp_path / "out", "-m", bundle)
    assert done.returncode == 0, done.stderr
    assert "SECRET" not in done.stdout + done.stderr + (tmp_path / "out" / "result.json").read_text()


def test_the_environment_variables_of_a_map_are_read(series: Path, bundle: Path, tmp_path: Path) -> None:
    done = run_map(
        "--any-modality",
        HOLOSCAN_INPUT_PATH=str(series),
        HOLOSCAN_OUTPUT_PATH=str(tmp_path / "out"),
        HOLOSCAN_MODEL_PATH=str(bundle.parent),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").is_file()


def test_minivess_map_run_is_the_same_application(series: Path, bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "minivess", "map", "run", str(series), str(tmp_path / "out"), "-m", str(bundle)]
    assert subprocess.run([*command, "--any-modality", "--only-seg"], check=False, timeout=300).returncode == 0
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["result.json", "vessels.seg.dcm"]


def refused(series: Path, bundle: Path, out: Path, word: str) -> None:
    done = run_map("-i", series, "-o", out, "-m", bundle)
    assert done.returncode == 1, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.requirement("R20")
def test_refusals_end_with_1_and_leave_nothing(series: Path, bundle: Path, segresnet: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(tmp_path / "nothing", bundle, out, "This is no folder")
    refused(series, segresnet / "docs", out, "must contain one bundle")
    refused(series, bundle, series, "same folder")
    edit(series, lambda i, d: setattr(d, "ImagePositionPatient", [0, 0, float(i * i)]))
    refused(series, bundle, out, "not uniform")
    assert not out.exists()
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_an_output_that_holds_something_is_refused_first(series: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    refused(series, bundle, tmp_path / "out", "not empty")
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["precious"]


def test_an_unknown_option_ends_with_2() -> None:
    assert run_map("--nonsense").returncode == 2


def running(series: Path, out: Path, bundle: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "maps.vessel_seg", "-i", str(series), "-o", str(out), "-m", str(bundle), "--any-modality"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.requirement("R20")
@pytest.mark.parametrize(
    ("number", "exists"), [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGKILL, False), (signal.SIGKILL, True)]
)
def test_a_stopped_run_says_so_leaves_nothing_and_does_not_block_the_next(
    series: Path, bundle: Path, tmp_path: Path, number: signal.Signals, exists: bool
) -> None:
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    with running(series, out, bundle) as process:
        while not children(process.pid):
            assert process.poll() is None, process.stderr
            time.sleep(0.01)
        (child,) = children(process.pid)
        time.sleep(0.5)
        start = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        seconds = time.monotonic() - start
    for _ in range(500):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
    assert not (out / "result.json").exists()
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert said.strip().splitlines()[-1] == f"Stopped by {number.name}. Nothing was written."
        assert not list(tmp_path.rglob(".out*")), seconds
    done = run_map("-i", series, "-o", out, "-m", bundle)
    assert done.returncode == 0, done.stderr
    assert sorted(f.name for f in out.iterdir()) == ["measurements.sr.dcm", "result.json", "uncertainty.dcm", "vessels.seg.dcm"]
    assert not list(tmp_path.rglob(".out*"))


def test_a_term_to_the_outer_command_ends_everything(series: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "minivess", "map", "run", str(series), str(out), "-m", str(bundle), "--any-modality"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not children(process.pid):
            time.sleep(0.01)
        (child,) = children(process.pid)
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not Path(f"/proc/{child}").exists()
    assert not out.exists()


@pytest.mark.requirement("R20")
def test_a_signal_that_comes_in_a_hook_of_fork_is_not_lost(series: Path, bundle: Path, tmp_path: Path) -> None:
    program = (
        "import os, runpy, signal; "
        "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM)); "
        "runpy.run_path('maps/vessel_seg', run_name='__main__')"
    )
    words = [sys.executable, "-c", program, *map(str, ("-i", series, "-o", tmp_path / "out", "-m", bundle, "--any-modality"))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr.strip().splitlines()[-1] == "Stopped by SIGTERM. Nothing was written."
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("reads", "code", "words"),
    [
        ("time.sleep(600)", 3, "did nothing for 2 s and was ended. Nothing was written."),
        ("busy()", 1, "InputError: read at last"),
    ],
    ids=["a dead drive", "slow work"],
)
def test_work_that_stands_still_is_ended_and_slow_work_is_not(
    bundle: Path, tmp_path: Path, reads: str, code: int, words: str
) -> None:
    program = f"""
import sys, time
sys.path.insert(0, "maps/vessel_seg")
import child, command
from minivess.errors import InputError
def busy():
    while time.process_time() < 6: pass
    raise InputError("read at last")
child.IDLE_LIMIT_S = 2.0
command.read_series = lambda _: {reads}
sys.exit(command.main(sys.argv[1:]))
"""
    (tmp_path / "in").mkdir()
    options = ("-i", tmp_path / "in", "-o", tmp_path / "out", "-m", bundle, "--any-modality")
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, options)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.requirement("R08")
def test_a_model_for_another_modality_is_refused_before_it_is_loaded(series: Path, bundle: Path, tmp_path: Path) -> None:
    done = run_map("--strict", "-i", series, "-o", tmp_path / "out", "-m", bundle)
    assert done.returncode == 1
    assert "The model is for two_photon" in done.stderr
    assert "the series is MR" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_modality_may_be_a_reference(series: Path, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    file = copy / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text())
    config |= {"kind_of_images": config["modality"], "modality": "@kind_of_images"}
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    done = run_map("--strict", "-i", series, "-o", tmp_path / "out", "-m", copy)
    assert done.returncode == 1
    assert "The model is for two_photon (OT, GM, SM), the series is MR" in done.stderr


def test_a_refusal_does_not_wait_for_torch(series: Path, bundle: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from command import main; code = main(sys.argv[1:]); "
        "print([m for m in sys.modules if m in ('torch', 'monai', 'holoscan')]); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "maps" / "vessel_seg")}
    words = [sys.executable, "-c", script, "-i", str(series), "-o", str(tmp_path / "out"), "-m", str(bundle)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 1
    assert done.stdout.strip() == "[]", done.stdout


@pytest.mark.parametrize("name", ["lidc_idri_0314_ct_48", "vs_seg_001_mr_t1gd_44"])
def test_the_real_series(shared_data: Path, bundle: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / f"{name}.zip") as archive:
        archive.extractall(tmp_path / "in")
    done = run_map("-i", tmp_path / "in", "-o", tmp_path / "out", "-m", bundle)
    assert done.returncode == 0, done.stderr
    assert dciodvfy(tmp_path / "out" / "vessels.seg.dcm") == []


def test_the_tilted_series_is_refused(shared_data: Path, bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / "ge_ct_gantry_tilt_var_spacing.zip") as archive:
        archive.extractall(tmp_path / "in")
    refused(tmp_path / "in", bundle, tmp_path / "out", "1.081 mm")
    assert not (tmp_path / "out").exists()
