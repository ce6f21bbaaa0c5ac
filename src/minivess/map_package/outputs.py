"""Check what a MAP wrote, before it is given: complete, readable, and about the patient and the images that went in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from minivess.dicom.series_files import group_series
from minivess.dicom.source_header import text_of
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
    dicom = [file for file in files if _is_dicom(file)]
    images = _first_images(source) if dicom else []
    for file in dicom:
        _check_object(file, images)
    return [str(file.relative_to(folder)) for file in files]


def _check_index(folder: Path, index: Path) -> None:
    try:
        named = dict(json.loads(index.read_text(encoding="utf-8")).get("files", {}))
    except (ValueError, AttributeError) as error:
        raise InputError(f"result.json of the application is damaged: {error}") from error
    for name, digest in named.items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise InputError(f"The output {name} is not the file that result.json names.")


def _first_images(source: Path) -> list[pydicom.Dataset]:
    """Return the header of one image of each series of the input; none of what lies beside them: reports, a DICOMDIR."""
    return [pydicom.dcmread(files[0], stop_before_pixels=True) for files in group_series(source).series.values()]


def _check_object(file: Path, images: Sequence[pydicom.Dataset]) -> None:
    """Compare an object with the images: it must be about the patient and the study of one of the series."""
    try:
        result = pydicom.dcmread(file)
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise InputError(f"The output {file.name} cannot be read as DICOM: {type(error).__name__}.") from error
    foreign = [_foreign(result, image) for image in images]
    if foreign and all(foreign):
        raise GeometryError(f"The output {file.name} has another {foreign[0]} than the images. It was not given.")


def _foreign(result: pydicom.Dataset, image: pydicom.Dataset) -> str:
    """Return the attribute by which an object belongs to something else than an image; "" when it belongs to it."""
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        got, wanted = text_of(result, keyword), text_of(image, keyword)
        if got and wanted and got != wanted:
            return keyword
    return ""


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        stream.seek(_DICOM_MAGIC_AT)
        return stream.read(4) == b"DICM"
