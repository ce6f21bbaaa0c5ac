"""Vessel segmentation as a MONAI Deploy application: reads a DICOM series, writes a DICOM SEG and a report."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from holoscan.conditions import CountCondition
from monai.deploy.core import Application, RuntimeEnv

from minivess.errors import InputError, MinivessError
from minivess.models import load_bundle
from minivess.paths import atomic_folder
from operators import ResultWriter, SeriesReader, VesselSegmenter


class VesselSegApp(Application):
    """Read a series, segment it, write the results."""

    def __init__(self, *, input_path: Path, output_path: Path, model_path: Path) -> None:
        """Load the model, before the graph starts.

        Args:
            input_path: Folder of one DICOM series.
            output_path: Existing folder for the results.
            model_path: A bundle, or a folder that contains one.

        Raises:
            MinivessError: When the model cannot be loaded.
        """
        super().__init__(argv=[sys.executable, __file__])  # the arguments are parsed below, not by Holoscan
        self.input_path = input_path
        self.output_path = output_path
        self.segmenter = load_bundle(find_bundle(model_path))

    def compose(self) -> None:
        """Connect the operators."""
        once = CountCondition(self, 1, name="once")  # the reader has no input, so it needs a condition to run only once
        reader = SeriesReader(self, once, folder=self.input_path, name="series_reader")
        segmenter = VesselSegmenter(self, segmenter=self.segmenter, name="vessel_segmenter")
        modality = self.segmenter.capabilities.modality
        writer = ResultWriter(self, folder=self.output_path, modality=modality, name="result_writer")
        self.add_flow(reader, segmenter, {("series", "series")})
        self.add_flow(segmenter, writer, {("result", "result")})


def find_bundle(model_path: Path) -> Path:
    """Return the path of a bundle, or of the only bundle in a folder of models, which is the layout of MAPs.

    Raises:
        InputError: When the folder contains no bundle, or more than one.
    """
    if (model_path / "configs").is_dir():
        return model_path
    bundles = sorted(f.parent for f in model_path.glob("*/configs") if f.is_dir())
    if len(bundles) != 1:
        names = ", ".join(b.name for b in bundles) or "none"
        raise InputError(f"The model folder {model_path} must contain one bundle. Got {names}. Name one with -m.")
    return bundles[0]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse -i, -o and -m; the defaults are the environment variables of the MAP."""
    environment = RuntimeEnv()
    parser = argparse.ArgumentParser(
        prog="vessel_seg",
        description="Segment the vessels of one DICOM series.",
        epilog="Example: python -m maps.vessel_seg -i series/ -o result/ -m bundles/segresnet. "
        "Exit codes: 0 done, 1 refused, 2 wrong usage, 3 internal fault.",
    )
    parser.add_argument("-i", "--input", type=Path, default=Path(environment.input), help="folder of one series")
    parser.add_argument("-o", "--output", type=Path, default=Path(environment.output), help="new or empty folder")
    parser.add_argument("-m", "--model", type=Path, default=Path(environment.model), help="bundle, or folder with one")
    return parser.parse_args(argv)


def segment_series(source: Path, target: Path, model: Path) -> None:
    """Run the application in a temporary folder, which becomes the output when all results are written.

    Args:
        source: Folder of one DICOM series.
        target: New or empty folder for the results.
        model: A bundle, or a folder that contains one.

    Raises:
        MinivessError: When input, output or model are refused.
        RuntimeError: When the application ends without a result.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"Input and output are the same folder: {source}. Name another for -o.")
    with atomic_folder(target) as partial:
        VesselSegApp(input_path=source, output_path=partial, model_path=model).run()
        if not (partial / "result.json").is_file():
            raise RuntimeError("the application ended without a result")


def main(argv: list[str]) -> int:
    """Run the application; it writes all results or none.

    Returns:
        Exit code: 0 done, 1 refused with a reason, 3 internal fault.
    """
    arguments = parse_arguments(argv)
    try:
        segment_series(arguments.input, arguments.output, arguments.model)
    except MinivessError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"OutputError: {error.strerror or error}: {error.filename or ''}", file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 (the outermost level: a fault becomes exit code 3)
        traceback.print_exc()
        return 3
    print(f"Done: {arguments.output}")
    return 0
