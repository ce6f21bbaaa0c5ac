"""Vessel segmentation as a MONAI Deploy application: a DICOM series in, a DICOM SEG and a report out."""

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
    """Read a series, segment it, write the result."""

    def __init__(self, *, input_path: Path, output_path: Path, model_path: Path) -> None:
        """Take the three folders; the model is loaded here, before the graph starts."""
        super().__init__(argv=[sys.executable, __file__])  # the arguments are parsed below, not by Holoscan
        self.input_path = input_path
        self.output_path = output_path
        self.segmenter = load_bundle(find_bundle(model_path))

    def compose(self) -> None:
        """Connect the operators."""
        once = CountCondition(self, 1, name="once")  # the reader has no input: it runs a single time
        reader = SeriesReader(self, once, folder=self.input_path, name="series_reader")
        segmenter = VesselSegmenter(self, segmenter=self.segmenter, name="vessel_segmenter")
        modality = self.segmenter.capabilities.modality
        writer = ResultWriter(self, folder=self.output_path, modality=modality, name="result_writer")
        self.add_flow(reader, segmenter, {("series", "series")})
        self.add_flow(segmenter, writer, {("result", "result")})


def find_bundle(model_path: Path) -> Path:
    """Take a bundle, or the only bundle in a folder of models, as MAPs lay them out.

    Raises:
        InputError: When there is none, or more than one.
    """
    if (model_path / "configs").is_dir():
        return model_path
    bundles = sorted(f.parent for f in model_path.glob("*/configs") if f.is_dir())
    if len(bundles) != 1:
        names = ", ".join(b.name for b in bundles) or "none"
        raise InputError(f"The model folder {model_path} must hold one bundle. Got {names}. Name one with -m.")
    return bundles[0]


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read -i, -o and -m; what is not named comes from the MAP's environment variables."""
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
    """Run the application into a temporary folder that becomes the output when everything is there.

    Raises:
        MinivessError: When input, output or model are refused.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"Input and output are the same folder: {source}. Name another for -o.")
    with atomic_folder(target) as partial:
        VesselSegApp(input_path=source, output_path=partial, model_path=model).run()
        if not (partial / "result.json").is_file():
            raise RuntimeError("the application ended without a result")


def main(argv: list[str]) -> int:
    """Run the application; all of the output appears or none of it.

    Returns:
        0 done, 1 refused with a reason, 3 internal fault.
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
    except Exception:  # noqa: BLE001 (the outermost shell: a fault becomes exit code 3)
        traceback.print_exc()
        return 3
    print(f"Done: {arguments.output}")
    return 0
