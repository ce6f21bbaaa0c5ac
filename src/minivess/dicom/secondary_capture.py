"""Write pictures of the result as DICOM secondary captures, for a PACS that shows no segmentation (PS3.3, A.8.1)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from minivess.dicom.derived import MANUFACTURER, NOTICE, Derivation
from minivess.dicom.source_header import OF_LOSSY_COMPRESSION, text_of
from minivess.paths import atomic_file
from minivess.pictures import Rgb, grey, outline
from minivess.volume import Volume

#: Body parts of no side, of those that vessels are imaged in (PS3.16, annex L).
_UNPAIRED = frozenset(
    {
        "ABDOMEN", "AORTA", "BRAIN", "CHEST", "CIRCLEOFWILLIS", "CSPINE", "HEAD", "HEADNECK", "HEART", "LIVER", "LSPINE", "NECK",
        "PANCREAS", "PELVIS", "SKULL", "SPINE", "SPLEEN", "TSPINE", "WHOLEBODY",
    }
)  # fmt: skip
_DIRECTIONS = (("L", "R"), ("P", "A"), ("H", "F"))


def write_pictures(mask: Volume, derivation: Derivation, folder: Path) -> list[Path]:
    """Write one picture a slice: the image in grey, the outline of the vessels in red, and the notice "AI, research use only".

    The grey range is that of the 0.5th to the 99.8th percentile of the volume. All pictures are in one series, in the order of
    the slices; each refers to its image, and has no position of its own: nobody measures on it.

    Args:
        mask: On the grid of the series; a value above 0 is vessel.
        derivation: Of this mask.
        folder: Existing folder.

    Returns:
        The files, ``picture.0001.dcm`` and so on.

    Raises:
        OutputError: When a file cannot be written.
    """
    volume = derivation.series.volume.array
    limits = np.percentile(volume, (0.5, 99.8))
    images = derivation.series.in_volume_order()
    return [
        _write(outline(grey(volume[..., z].T, *limits), mask.array[..., z].T), z, image, derivation, folder)
        for z, image in enumerate(images)
    ]


def _write(picture: Rgb, index: int, image: pydicom.Dataset, derivation: Derivation, folder: Path) -> Path:
    header = derivation.headers[index]
    about = derivation.instance("picture", 1003)
    result = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=header,
        pixel_array=_with_notice(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_orientation(header),
        pixel_spacing=None,
        series_instance_uid=about["series_instance_uid"],
        series_number=about["series_number"],
        sop_instance_uid=derivation.uid(f"picture {index}"),
        instance_number=index + 1,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    result.SeriesDescription = f"Vessels, pictures ({NOTICE})"
    result.ManufacturerModelName = about["manufacturer_model_name"]
    result.SoftwareVersions = about["software_versions"]
    result.DerivationDescription = f"Outline of automatic vessels: {NOTICE}"
    result.ConversionType = "WSD"  # by a workstation: highdicom states a digital interface
    if text_of(image, "Laterality") in ("L", "R"):
        result.Laterality = text_of(image, "Laterality")
    elif text_of(image, "BodyPartExamined").upper() not in _UNPAIRED:
        result.Laterality = None  # type 2C: of a paired body part, which it may be
    for keyword in OF_LOSSY_COMPRESSION:
        if keyword in header:
            result[keyword] = header[keyword]
    if text_of(image, "BurnedInAnnotation"):
        result.BurnedInAnnotation = text_of(image, "BurnedInAnnotation")  # ours does not identify the patient
    source = pydicom.Dataset()
    source.ReferencedSOPClassUID = (derivation.series.multiframe or image).SOPClassUID
    source.ReferencedSOPInstanceUID = image.SOPInstanceUID
    if derivation.series.multiframe is not None:
        source.ReferencedFrameNumber = int(image.InstanceNumber)
    result.SourceImageSequence = [source]
    derivation.finish(result, "picture")
    result.compress(RLELossless, generate_instance_uid=False)
    path = folder / f"picture.{index + 1:04d}.dcm"
    with atomic_file(path) as temporary:
        result.save_as(temporary, enforce_file_format=True)
    return path


def _with_notice(picture: Rgb) -> NDArray[np.uint8]:
    """Draw the notice in the upper left corner, on dark ground."""
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle(draw.textbbox((3, 3), NOTICE), fill=(0, 0, 0))
    draw.text((3, 3), NOTICE, fill=(255, 220, 90))
    return np.asarray(canvas)


def _orientation(header: pydicom.Dataset) -> tuple[str, str]:
    """Return the direction of the patient that rows and columns lead to (PatientOrientation)."""
    axes = np.reshape([float(v) for v in header.ImageOrientationPatient], (2, 3))
    letters = [_DIRECTIONS[int(np.argmax(np.abs(axis)))][int(axis[np.argmax(np.abs(axis))] < 0)] for axis in axes]
    return letters[0], letters[1]
