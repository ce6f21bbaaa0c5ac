"""Check what a MAP wrote, before it is given: complete, readable, and about the patient and the images that went in."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from minivess.errors import GeometryError, InputError
from minivess.paths import file_sha256

_DICOM_MAGIC_AT = 128


def check_outputs(folder: Path, source: Path) -> list[str]:
    """Check the outputs of a run, of our MAP or of another one.

    Args:
        folder: The outputs.
        source: The input folder.

    Returns:
        Names of the checked files.

    Raises:
        InputError: When there is none, one is unreadable, or it is not the one that ``result.json`` names.
        GeometryError: When an object belongs to another patient, study or frame of reference than the images.
    """
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    if not files:
        raise InputError("The application ended with 0 and wrote nothing. Look at it: minivess map check --help")
    index = folder / "result.json"
    if index.is_file():
        _check_index(folder, index)
    for file in files:
        if _is_dicom(file):
            _check_object(file, source)
    return [str(file.relative_to(folder)) for file in files]


def _check_index(folder: Path, index: Path) -> None:
    try:
        named = dict(json.loads(index.read_text(encoding="utf-8")).get("files", {}))
    except (ValueError, AttributeError) as error:
        raise InputError(f"result.json of the application is damaged: {error}") from error
    for name, digest in named.items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise InputError(f"The output {name} is not the file that result.json names.")


def _check_object(file: Path, source: Path) -> None:
    """Compare an object with the images that it refers to; without references, with the patient of the input."""
    try:
        result = pydicom.dcmread(file)
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise InputError(f"The output {file.name} cannot be read as DICOM: {type(error).__name__}.") from error
    image = next((pydicom.dcmread(f, stop_before_pixels=True) for f in sorted(source.rglob("*")) if _is_dicom(f)), None)
    if image is None:
        return
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        got, wanted = result.get(keyword), image.get(keyword)
        if got is not None and wanted is not None and str(got) != str(wanted):
            raise GeometryError(f"The output {file.name} has another {keyword} than the images. It was not given.")


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        stream.seek(_DICOM_MAGIC_AT)
        return stream.read(4) == b"DICM"
