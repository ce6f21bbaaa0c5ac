"""What a run of the MAP costs beside the network: ours and the same model between the SDK's own operators, in one run.

    python benchmarks/map_overhead.py --model runs/demo/model [--slices 32] [--times 3]

Each application is a process of its own, from its start to its end: wall and CPU seconds, largest resident memory. The prediction alone is
measured in this process; what is left is the fixed cost. The SDK's application is DICOMDataLoaderOperator, DICOMSeriesSelectorOperator,
DICOMSeriesToVolumeOperator, our prediction, DICOMSegmentationWriterOperator; ours writes with --only-seg, as that one writes a SEG alone.
A refusal is the same series without one of its slices.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.process_setup import preload_cuda_runtime, prepare_process

if "--stock" in sys.argv:
    preload_cuda_runtime()  # as its users start it: MONAI imports all that it can
else:
    prepare_process()

from minivess.dicom import write_series
from minivess.paths import resource_path
from minivess.synth import make_sample


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    memory_mb: float
    code: int


def measure(command: list[str], log: Path) -> Cost:
    begun = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        _, status, usage = os.wait4(process.pid, 0)
    return Cost(
        time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)
    )


def run_stock(source: Path, out: Path, model: Path) -> None:
    """Run the SDK's operators around our prediction."""
    import numpy as np
    from holoscan.conditions import CountCondition
    from monai.deploy.core import Application, Operator, OperatorSpec
    from monai.deploy.core.domain import Image
    from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
    from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
    from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
    from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
    from pydicom.sr.codedict import codes

    from minivess.models import load_bundle
    from minivess.volume import Volume

    class Predict(Operator):
        def __init__(self, fragment: Any, *args: Any, **keywords: Any) -> None:
            self.segmenter = load_bundle(model)
            super().__init__(fragment, *args, **keywords)

        def setup(self, spec: OperatorSpec) -> None:
            spec.input("image")
            spec.output("seg_image")

        def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
            image = op_input.receive("image")
            affine = np.asarray(image.metadata()["nifti_affine_transform"], float)
            volume = Volume(np.ascontiguousarray(image.asnumpy().transpose(2, 1, 0)), affine, "mm")
            mask = self.segmenter.predict(volume).mask.array.transpose(2, 1, 0)
            op_output.emit(Image(np.ascontiguousarray(mask), image.metadata()), "seg_image")

    class Stock(Application):
        def compose(self) -> None:
            once = CountCondition(self, 1)  # otherwise it loads again and again
            loader = DICOMDataLoaderOperator(self, once, input_folder=source, name="loader")
            selector = DICOMSeriesSelectorOperator(self, name="selector")
            to_volume = DICOMSeriesToVolumeOperator(self, name="to_volume")
            predict = Predict(self, name="predict")
            segment = SegmentDescription(
                segment_label="vessel",
                segmented_property_category=codes.SCT.BodyStructure,
                segmented_property_type=codes.SCT.BloodVessel,
                algorithm_name="minivess",
                algorithm_version="1",
            )
            writer = DICOMSegmentationWriterOperator(self, segment_descriptions=[segment], output_folder=out, name="writer")
            self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
            self.add_flow(selector, to_volume, {("study_selected_series_list", "study_selected_series_list")})
            self.add_flow(to_volume, predict, {("image", "image")})
            self.add_flow(selector, writer, {("study_selected_series_list", "study_selected_series_list")})
            self.add_flow(predict, writer, {("seg_image", "seg_image")})

    Stock(argv=[sys.executable]).run()


def predict_alone(source: Path, model: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a second prediction in one process."""
    from minivess.dicom import read_series
    from minivess.models import load_bundle

    segmenter, volume = load_bundle(model), read_series(source).volume
    segmenter.predict(volume)
    wall, cpu = time.perf_counter(), time.process_time()
    segmenter.predict(volume)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--stock", type=Path, nargs=2, metavar=("IN", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stock:
        run_stock(*arguments.stock, arguments.model)
        return
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        source = write_series(make_sample("capillary", 0, shape=(128, 128, arguments.slices)).image, folder / "in", name="x")
        gap = shutil.copytree(source, folder / "gap")
        sorted(gap.iterdir())[2].unlink()
        ours = [sys.executable, str(resource_path("maps/vessel_seg")), "-m", str(arguments.model), "--any-modality", "--only-seg"]
        stock = [sys.executable, __file__, "--model", str(arguments.model), "--stock"]
        costs: dict[str, list[Cost]] = {
            "ours": [],
            "SDK's operators": [],
            "ours, refusal": [],
            "SDK's operators, a slice missing": [],
        }
        for index in range(arguments.times):
            for name, command, series in (
                ("ours", [*ours, "-i", str(source), "-o"], source),
                ("SDK's operators", [*stock, str(source)], source),
                ("ours, refusal", [*ours, "-i", str(gap), "-o"], gap),
                ("SDK's operators, a slice missing", [*stock, str(gap)], gap),
            ):
                out = folder / f"{name} {index}".replace("'", "")
                log = folder / "log"
                cost = measure([*command, str(out)], log)
                expected = 1 if name == "ours, refusal" else 0
                if cost.code != expected and series is source:
                    raise SystemExit(f"{name} ended with {cost.code}:\n{log.read_text()[-3000:]}")
                costs[name].append(cost)
        wall_s, cpu_s = predict_alone(source, arguments.model)
    print(f"128 x 128 x {arguments.slices} voxels, {os.cpu_count()} cores; the fastest of {arguments.times}")
    print(f"prediction alone: {wall_s:.1f} s wall, {cpu_s:.1f} s CPU")
    best = {name: min(rows, key=lambda row: row.wall_s) for name, rows in costs.items()}
    for name, cost in best.items():
        print(f"{name}: {cost.wall_s:.1f} s wall, {cost.cpu_s:.1f} s CPU, {cost.memory_mb:.0f} MB, exit code {cost.code}")
    fixed = [(best[name].wall_s - wall_s, best[name].cpu_s - cpu_s) for name in ("ours", "SDK's operators")]
    print(
        f"fixed cost: ours {fixed[0][0]:.1f} s wall, {fixed[0][1]:.1f} s CPU; SDK's {fixed[1][0]:.1f} s wall, {fixed[1][1]:.1f} s CPU"
    )
    print(f"ratio ours / SDK's: {fixed[0][0] / fixed[1][0]:.2f} wall, {fixed[0][1] / fixed[1][1]:.2f} CPU")


if __name__ == "__main__":
    main()
