"""Many series in one folder: a result for each, a summary, and nothing done twice."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from dicom.enhanced import make_enhanced
from dicom.test_series import ORIENTATIONS, edit, volume_of
from safetensors.torch import load_file, save_file

from minivess.dicom import read_series, write_series
from minivess.map_package.application import identify_application
from minivess.map_package.batch import find_batch, run_batch
from minivess.models import weights_path


def batch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "minivess", "map", "batch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)


def make(folder: Path, name: str) -> Path:
    return write_series(volume_of(ORIENTATIONS["axial"], (40, 36, 9)), folder, name=name)


def test_every_series_has_its_result_and_the_rest_is_done_the_next_time(bundle: Path, tmp_path: Path) -> None:
    studies, results = tmp_path / "studies", tmp_path / "results"
    first = make(studies / "a" / "one", "p1")
    make_enhanced(make(tmp_path / "other", "p2"), studies / "b")
    gap = make(studies / "c", "p3")
    taken = (gap / "0004.dcm").rename(tmp_path / "taken")
    (studies / "notes.txt").write_text("foreign")

    done = batch(studies, results, "--model", bundle, "--any-modality", "--only-seg", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert sorted(row["result"] for row in said["series"]) == ["done", "done", "refused"]
    (refused,) = (row for row in said["series"] if row["result"] == "refused")
    assert "distances between slices" in refused["reason"]
    assert str(tmp_path) not in refused["reason"]
    with (results / "summary.csv").open() as stream:
        rows = {row["series"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 3
    uid = read_series(first).uid
    assert float(rows[uid]["vessel_volume_mm3"]) > 0
    assert sorted(f.name for f in (results / uid).iterdir()) == ["result.json", "vessels.seg.dcm"]
    written = (results / uid / "vessels.seg.dcm").stat().st_mtime_ns

    shutil.move(taken, gap / "0004.dcm")
    done = batch(studies, results, "--model", bundle, "--any-modality", "--only-seg")
    assert done.returncode == 0, done.stderr
    assert "3 series: 3 done, 0 without a result" in done.stdout
    assert (results / uid / "vessels.seg.dcm").stat().st_mtime_ns == written
    assert not list((results / ".batch").glob("images*"))
    done = batch(studies, results, "--model", bundle, "--any-modality", "--only-seg", "--pictures")
    assert done.returncode == 1
    assert "holds a result of other images, another model or other options" in done.stderr


def test_what_is_damaged_or_odd_does_not_stop_the_others_and_stays_inside(bundle: Path, tmp_path: Path) -> None:
    studies, results = tmp_path / "studies", tmp_path / "results"
    make(studies / "good", "p1")
    (make(studies / "damaged", "p2") / "0003.dcm").write_bytes(b"")
    edit(make(studies / "escaping", "p3"), lambda _, d: d.add_new("SeriesInstanceUID", "UI", "../escaped"))
    doubled = make(studies / "doubled", "p5")
    shutil.copy(doubled / "0002.dcm", studies / "copy.dcm")
    (studies / "linked").symlink_to(make(tmp_path / "elsewhere", "p4"))
    done = batch(studies, results, "--model", bundle, "--any-modality", "--only-seg", "--json")
    assert done.returncode == 1
    rows = json.loads(done.stdout)["series"]
    assert sorted(row["result"] for row in rows) == ["done", *["refused"] * 4]
    reasons = " ".join(row["reason"] for row in rows)
    assert "A file beside its images is damaged: damaged/0003.dcm" in reasons
    assert "SeriesInstanceUID is no valid UID" in reasons
    assert "one SOPInstanceUID: copy.dcm and doubled/0002.dcm" in reasons
    assert "1 linked folders are not followed: linked" in done.stderr
    assert not (tmp_path / "escaped").exists()


def test_a_stopped_batch_leaves_no_images_and_no_process_and_is_alone(bundle: Path, tmp_path: Path) -> None:
    make(tmp_path / "studies", "p1")
    results = tmp_path / "results"
    arguments = [tmp_path / "studies", results, "--model", bundle, "--any-modality"]
    command = [sys.executable, "-m", "minivess", "map", "batch", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not list(results.glob(".batch/images-*/*.dcm")):
            assert process.poll() is None
            time.sleep(0.05)
        while not (family := psutil.Process(process.pid).children(recursive=True)):
            time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)  # else it may have ended before the second one has begun
        second = batch(*arguments)
        assert (second.returncode, "Another batch writes" in second.stderr) == (1, True)
        process.terminate()
        process.send_signal(signal.SIGCONT)
        assert process.wait(120) == 143
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert not list(results.glob(".batch/images-*"))
    assert batch(*arguments).returncode == 0


def test_wrong_folders_are_named(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "none", tmp_path / "out"), "This is no folder"),
        ((tmp_path / "empty", tmp_path / "out"), "No DICOM image series"),
        ((tmp_path / "empty", tmp_path / "empty" / "out"), "would lie among the images"),
    ):
        done = batch(*arguments, "--model", bundle)
        assert done.returncode == 1
        assert message in done.stderr


def test_the_result_of_another_model_is_not_taken_for_this_one_s(bundle: Path, tmp_path: Path) -> None:
    model = shutil.copytree(bundle, tmp_path / "model")
    before = identify_application(model, None)
    assert identify_application(bundle, None) == before
    changed = load_file(weights_path(model))
    save_file({name: value + 1 for name, value in changed.items()}, weights_path(model), metadata={"name": "x"})
    assert identify_application(model, None) != before
    uid = read_series(make(tmp_path / "studies", "p")).uid
    write = "pathlib.Path(sys.argv[1]).mkdir(); pathlib.Path(sys.argv[1], 'result.json').write_text('{}')"
    command = [sys.executable, "-c", f"import pathlib, sys; {write}", "{out}"]
    for identity, result in ((before, "done"), (before, "done"), ("other", "failed")):
        found = find_batch(tmp_path / "studies", tmp_path / "results")
        (row,) = run_batch(found, tmp_path / "results", command, identity=identity)
        assert (row.series, row.result) == (uid, result)
    assert "another model" in row.reason


def test_what_is_wrong_with_the_application_is_no_fault_of_the_series(bundle: Path, tmp_path: Path) -> None:
    make(tmp_path / "studies", "p")
    (tmp_path / "none").mkdir()
    for options, message in (
        (["--model", tmp_path / "none"], "must contain one bundle"),
        (["--image", tmp_path / "none"], "is no MAP"),
        (["--image", tmp_path / "none", "--memory", "8GiBs"], "Not a size of memory"),
    ):
        done = batch(tmp_path / "studies", tmp_path / "results", *options)
        assert done.returncode == 1
        assert message in done.stderr
        assert not (tmp_path / "results").exists()


def test_more_memory_is_for_what_is_missing__what_is_done_stays(tmp_path: Path) -> None:
    studies, results = tmp_path / "studies", tmp_path / "results"
    small, large = (read_series(make(studies / name, name)).uid for name in ("small", "large"))
    application = (
        "import pathlib, sys\n"
        f"if {large!r} in sys.argv[1] and '8Gi' not in sys.argv: sys.exit(137)\n"
        "pathlib.Path(sys.argv[1]).mkdir()\npathlib.Path(sys.argv[1], 'result.json').write_text('{}')\n"
    )
    command = [sys.executable, "-c", application, "{out}"]

    def run(limits: list[str]) -> dict[str, str]:
        return {row.series: row.result for row in run_batch(find_batch(studies, results), results, command, limits=limits)}

    assert run([]) == {small: "done", large: "failed"}
    written = (results / small / "result.json").stat().st_mtime_ns
    assert run(["--memory", "8Gi"]) == {small: "done", large: "done"}
    assert (results / small / "result.json").stat().st_mtime_ns == written


def test_a_result_of_an_application_that_writes_no_index_is_done_the_next_time_too(tmp_path: Path) -> None:
    make(tmp_path / "studies", "p1")
    program = "import pathlib, sys; out = pathlib.Path(sys.argv[1]); out.mkdir(); (out / 'finding.txt').write_text('x')"
    command = [sys.executable, "-c", program, "{out}"]
    for _ in range(2):
        (result,) = run_batch(find_batch(tmp_path / "studies", tmp_path / "results"), tmp_path / "results", command)
        assert result.result == "done", result.reason


def test_the_same_images_exported_again_are_done_and_corrected_ones_are_not(tmp_path: Path) -> None:
    folder, results = make(tmp_path / "studies", "p1"), tmp_path / "results"
    program = "import pathlib, sys; out = pathlib.Path(sys.argv[1]); out.mkdir(); (out / 'finding.txt').write_text('x')"
    command = [sys.executable, "-c", program, "{out}"]

    def done() -> str:
        (result,) = run_batch(find_batch(tmp_path / "studies", results), results, command)
        return result.result

    assert done() == "done"
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"again{number}.dcm")
        (folder / f"again{number}.dcm").touch()
    assert done() == "done"
    edit(folder, lambda _, dataset: setattr(dataset, "PixelData", bytes(len(dataset.PixelData))))
    assert done() == "failed"


def test_a_file_in_the_place_of_a_series_folder_is_named_and_kept(tmp_path: Path) -> None:
    uid = read_series(make(tmp_path / "studies", "p1")).uid
    program = "import pathlib, sys; out = pathlib.Path(sys.argv[1]); out.mkdir(); (out / 'finding.txt').write_text('x')"
    studies, results, command = tmp_path / "studies", tmp_path / "results", [sys.executable, "-c", program, "{out}"]
    (done,) = run_batch(find_batch(studies, results), results, command)
    assert done.result == "done"
    shutil.rmtree(results / uid)
    (results / uid).write_text("notes of somebody")
    (again,) = run_batch(find_batch(studies, results), results, command)
    assert again.result == "failed"
    assert "Move it away" in again.reason
    assert (results / uid).read_text() == "notes of somebody"
