"""The command of the application: it refuses before anything heavy is loaded, and a stop leaves nothing behind."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

import yaml

from child import DONE, REFUSED, STOPPED, FailedError, StoppedError, note_signals, run_in_child
from minivess.dicom.series import Series, read_series
from minivess.dicom.series_checks import DICOM_MODALITIES
from minivess.dicom.source_header import modality_of, shown
from minivess.errors import BundleError, InputError, MinivessError
from minivess.paths import atomic_folder, find_bundle
from outputs import Outputs


def main(argv: list[str]) -> int:
    """Run the application; it writes all results or none.

    Args:
        argv: Arguments of the command line.

    Returns:
        Exit code: 0 done, 1 refused with a reason, 3 internal fault, 128 + signal when it was stopped.
    """
    arguments = parse_arguments(argv)
    outputs = Outputs(
        seg_type=arguments.seg_type.upper(),
        uncertainty=not arguments.only_seg,
        measurements=not arguments.only_seg,
        pictures=arguments.pictures,
    )
    try:
        code = segment(arguments.input, arguments.output, arguments.model, outputs=outputs, any_modality=arguments.any_modality)
    except MinivessError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"OutputError: {error.strerror or error}: {error.filename or arguments.output}", file=sys.stderr)
        return REFUSED
    except StoppedError as stop:
        print(f"Stopped by {stop}. Nothing was written.", file=sys.stderr)
        return STOPPED + stop.number
    if code == DONE:
        print("Done." if "HOLOSCAN_OUTPUT_PATH" in os.environ else f"Done: {arguments.output}")  # a container's path is its own
    return code


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the arguments; the defaults of -i, -o and -m are the environment variables of a MAP.

    Args:
        argv: Arguments of the command line.
    """
    parser = argparse.ArgumentParser(
        prog="vessel_seg",
        description="Segment the vessels of one DICOM series.",
        epilog="Example: python -m maps.vessel_seg -i series/ -o result/ -m bundles/segresnet. "
        "Exit codes: 0 done, 1 refused, 2 wrong usage, 3 internal fault, 128 + signal: stopped.",
    )

    def path(variable: str, default: str) -> Path:
        return Path(os.environ.get(variable, default))

    parser.add_argument("-i", "--input", type=Path, default=path("HOLOSCAN_INPUT_PATH", "input"), help="folder of one series")
    parser.add_argument("-o", "--output", type=Path, default=path("HOLOSCAN_OUTPUT_PATH", "output"), help="new or empty folder")
    model = path("HOLOSCAN_MODEL_PATH", "models")
    parser.add_argument("-m", "--model", type=Path, default=model, help="bundle, or folder with one")
    parser.add_argument("--any-modality", action="store_true", help="also images that the model was not made for")
    parser.add_argument("--only-seg", action="store_true", help="no uncertainty map and no measurement report beside the SEG")
    seg_types = ("binary", "labelmap", "fractional")
    parser.add_argument(
        "--seg-type", choices=seg_types, default="binary", help="labelmap: newer viewers; fractional: probability"
    )
    parser.add_argument("--pictures", action="store_true", help="also pictures with outlines, for a PACS that shows no SEG")
    return parser.parse_args(argv)


def segment(source: Path, target: Path, model: Path, *, outputs: Outputs, any_modality: bool = False) -> int:
    """Segment a series in a child process, in a temporary folder that becomes the output when all is written.

    Args:
        source: Folder of one DICOM series.
        target: New or empty folder for the results.
        model: A bundle, or a folder that contains one.
        outputs: What is written beside result.json.
        any_modality: Whether to accept images that the model was not made for.

    Returns:
        Exit code.

    Raises:
        MinivessError: When input, output or model are refused.
        StoppedError: When a signal arrives; the child is then gone, and nothing is left.
    """
    if source.resolve() == target.resolve():
        raise InputError(f"Input and output are the same folder: {source}. Choose another folder for the output.")
    bundle = find_bundle(model)

    def work(partial: Path) -> None:
        series = read_series(source)
        if not any_modality:
            check_modality(series, bundle)
        gc.disable()  # as in __main__.py
        from app import VesselSegApp

        gc.freeze()
        gc.enable()
        VesselSegApp(series=series, output_path=partial, bundle=bundle, outputs=outputs).run()
        (partial / "result.json").stat()  # a graph can end early without an error

    noted = note_signals()
    try:
        with atomic_folder(target) as partial:
            run_in_child(lambda: work(partial), noted)
    except FailedError as failed:
        return failed.code
    return DONE


def check_modality(series: Series, bundle: Path) -> None:
    """Refuse a series of another modality than the model was made for.

    Args:
        series: The series.
        bundle: The bundle's folder.

    Raises:
        InputError: When the modality is another.
        BundleError: When the bundle states none.
    """
    try:
        content = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text(encoding="utf-8"))
        modality = content["modality"]
        if modality.startswith("@"):  # a reference to another key of the configuration
            modality = content[modality[1:]]
        wanted = DICOM_MODALITIES[modality]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{bundle.name}: configs/inference.yaml states no modality of {', '.join(DICOM_MODALITIES)}."
        ) from error
    got = modality_of(series.datasets)
    if got not in wanted:
        raise InputError(
            f"The model is for {modality} ({', '.join(wanted)}), the series is {shown(got) or 'unknown'}. Its result would mean "
            "nothing. Use a model for such images; --any-modality segments them anyway."
        )
