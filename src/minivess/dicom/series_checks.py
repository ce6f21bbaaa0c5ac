"""The checks of a series by its headers, before any pixel is decoded and any model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import UID

from minivess.dicom.series_files import is_secondary_capture
from minivess.dicom.source_header import shown, text_of, whole_number
from minivess.errors import GeometryError, InputError

#: Modality of a model -> DICOM modalities of the images that it was made for.
DICOM_MODALITIES = {
    "two_photon": ("OT", "GM", "SM"),
    "light_sheet": ("OT", "GM", "SM"),
    "mr_angiography": ("MR",),
    "ct_angiography": ("CT",),
}
#: Largest allowed difference between slice distances: the larger of an absolute and a relative tolerance.
GAP_TOLERANCE_MM = 0.01
GAP_TOLERANCE_SHARE = 0.01
#: Positions of two decimals differ by 0.01 mm, which is a little more as a difference of floating-point numbers.
ROUNDING_MM = 1e-6
#: Largest allowed angle between the slice normal and the direction from the first to the last slice.
TILT_TOLERANCE_DEGREES = 0.1
#: Largest allowed difference between direction cosines of two slices.
ORIENTATION_TOLERANCE = 1e-4
#: Largest allowed relative difference between pixel spacings of two slices.
SPACING_TOLERANCE = 1e-4
#: So many different distances between slices are named.
_MOST_LISTED = 6

_REQUIRED = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID")
_NUMBERS = {"PixelSpacing": 2, "ImageOrientationPatient": 6, "ImagePositionPatient": 3}
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})


def check_headers(headers: Sequence[pydicom.Dataset]) -> list[str]:
    """Check kind and geometry of the images of one series.

    Args:
        headers: Of all images of the series, or of all frames of a multi-frame image.

    Returns:
        Remarks for the report.

    Raises:
        InputError: When the images are of an unsupported kind.
        GeometryError: When they do not form one regular volume; the message lists all problems.
    """
    _check_kind(headers)
    _check_bits(headers)
    _check_attributes(headers)
    _check_geometry(headers)
    return _remarks(headers)


def frames_are_unrelated(headers: Sequence[pydicom.Dataset]) -> bool:
    """Return whether no two slices have the same frame of reference: de-identification replaced the UIDs one by one."""
    return len(headers) > 2 and len({str(h.FrameOfReferenceUID) for h in headers}) == len(headers)


def check_identity(headers: Sequence[pydicom.Dataset]) -> None:
    """Check that there is one patient, one study, and a UID of its own for each file. No value is named in a message.

    Raises:
        InputError: When there is not.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        missing = sum(not text_of(h, keyword) for h in headers)
        if missing:
            raise InputError(f"{missing} of {len(headers)} files have no {keyword}. Export the series again.")
        _check_uids(headers, keyword)
    _check_uids([h for h in headers if text_of(h, "FrameOfReferenceUID")], "FrameOfReferenceUID")
    for keyword, what in (("PatientID", "patients"), ("PatientName", "patients"), ("StudyInstanceUID", "studies")):
        values = {text_of(h, keyword) for h in headers}
        if len(values) > 1:
            raise InputError(
                f"The series holds images of several {what}: {len(values)} values of {keyword} in {len(headers)} files. "
                "Put each in a folder of its own."
            )
    modalities = {text_of(h, "Modality") for h in headers} - {""}
    if len(modalities) > 1:
        raise InputError(
            f"The images of the series have {len(modalities)} modalities; a series has one. Put each in a folder of its own."
        )
    doubles = [uid for uid, n in Counter(text_of(h, "SOPInstanceUID") for h in headers).items() if n > 1]
    if doubles:
        raise InputError(
            f"{len(doubles)} SOPInstanceUIDs are used by more than one file of the series, the first: {doubles[0]}. "
            "Remove copies, and export the series again."
        )


def _check_uids(headers: Sequence[pydicom.Dataset], keyword: str) -> None:
    texts = [text_of(h, keyword) for h in headers]
    wrong = sum(not (UID(text).is_valid and text.startswith(("0.", "1.", "2."))) for text in texts)  # the roots that there are
    if wrong:
        raise InputError(f"{keyword} is no valid UID in {wrong} of {len(headers)} files. Export the series again.")


def _check_kind(headers: Sequence[pydicom.Dataset]) -> None:
    if any(is_secondary_capture(text_of(h, "SOPClassUID")) for h in headers):
        raise InputError(
            "The images are secondary captures: pictures of a screen or a film, without calibrated intensities and geometry. "
            "Choose the original series."
        )
    kinds = {text_of(h, "PhotometricInterpretation") for h in headers}
    if not kinds <= _GREY or any(whole_number(h.get("SamplesPerPixel", 1)) != 1 for h in headers):
        kind = ", ".join(sorted({shown(kind) or "an unknown kind" for kind in kinds - _GREY})) or "several samples a pixel"
        raise InputError(f"The images must be grey. Got {kind}. Export the series in grey.")
    if any(text_of(h, "BurnedInAnnotation").upper() == "YES" for h in headers):
        raise InputError("BurnedInAnnotation is YES: text in the pixels may identify the patient. Remove the text first.")


def _check_bits(headers: Sequence[pydicom.Dataset]) -> None:
    """Refuse pixels whose stored bits do not end at bit 0, which decoders ignore silently."""
    for h in headers:
        stored, high = h.get("BitsStored"), h.get("HighBit")
        if stored is not None and high is not None and whole_number(high) != whole_number(stored) - 1:
            raise InputError(
                f"HighBit is {whole_number(high)}, BitsStored {whole_number(stored)}. Allowed: HighBit = BitsStored - 1, as the "
                "standard asks. Export the series again."
            )


def _check_attributes(headers: Sequence[pydicom.Dataset]) -> None:
    missing = Counter(keyword for h in headers for keyword in _REQUIRED if keyword not in h or h[keyword].is_empty)
    if missing:
        listed = ", ".join(f"{keyword} in {n} of {len(headers)} files" for keyword, n in missing.items())
        raise GeometryError(f"The series lacks attributes of its geometry: missing {listed}. Export the series again.")
    for keyword, count in _NUMBERS.items():
        wrong = sum(not _has_numbers(h, keyword, count) for h in headers)
        if wrong:
            raise GeometryError(
                f"{keyword} does not have {count} numbers in {wrong} of {len(headers)} files. Export the series again."
            )


def _has_numbers(header: pydicom.Dataset, keyword: str, count: int) -> bool:
    try:
        values = np.array([float(v) for v in header[keyword].value])
    except (TypeError, ValueError):
        return False
    return len(values) == count and bool(np.isfinite(values).all())


def _check_geometry(headers: Sequence[pydicom.Dataset]) -> None:
    problems = []
    for keyword in ("Rows", "Columns", "FrameOfReferenceUID"):
        values = Counter(
            shown(str(h[keyword].value)) if keyword.endswith("UID") else whole_number(h[keyword].value) for h in headers
        )
        if len(values) > 1 and not (keyword == "FrameOfReferenceUID" and frames_are_unrelated(headers)):
            listed = ", ".join(f"{value} ({n} slices)" for value, n in values.most_common(4))
            problems.append(f"{keyword} differs between slices: {listed}")
    spacings = np.array([[float(v) for v in h.PixelSpacing] for h in headers])
    if (spacings <= 0).any() or np.abs(spacings / spacings[0] - 1).max() > SPACING_TOLERANCE:
        kinds = Counter(str(spacing.tolist()) for spacing in spacings)
        listed = ", ".join(f"{value} ({n} slices)" for value, n in kinds.most_common(4))
        problems.append(f"PixelSpacing differs between slices, or is not positive: {listed}")
    orientations = np.array([[float(v) for v in h.ImageOrientationPatient] for h in headers])
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        kinds = Counter(str(np.round(o, 3).tolist()) for o in orientations)
        listed = ", ".join(f"{o} ({n} slices)" for o, n in kinds.most_common(4))
        problems.append(f"ImageOrientationPatient is mixed: {listed}. The series may contain a localizer")
    elif len(headers) < 2:
        problems.append("only one slice; a volume needs at least two")
    else:
        positions = np.array([[float(v) for v in h.ImagePositionPatient] for h in headers])
        problems += _position_problems(positions, orientations[0])
    if problems:
        raise GeometryError(
            f"The series of {len(headers)} slices is not a regular volume:\n  "
            + "\n  ".join(problems)
            + "\nExport the series again, complete and without tilt. Nothing was written."
        )


def _position_problems(positions: NDArray[np.float64], orientation: NDArray[np.float64]) -> list[str]:
    """Return the problems of the slice positions: duplicates, non-uniform distances, tilt.

    Args:
        positions: (slices, 3) ImagePositionPatient in mm.
        orientation: (6,) ImageOrientationPatient.
    """
    normal = np.cross(orientation[:3], orientation[3:])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    problems = []
    duplicates = int((gaps < 1e-6 * max(1.0, float(np.ptp(heights)))).sum())
    if duplicates:
        problems.append(f"{duplicates} slices have the position of another slice (phases, echoes or copies in one series)")
    distances = gaps[gaps > 1e-9]
    if distances.size:
        usual = float(np.median(distances))
        allowed = max(min(GAP_TOLERANCE_MM, 0.1 * usual), GAP_TOLERANCE_SHARE * usual)
        if np.abs(distances - usual).max() > allowed + ROUNDING_MM:
            kinds = Counter(f"{gap:.4g}" for gap in distances)
            shown = sorted(kinds.most_common(_MOST_LISTED), key=lambda kind: float(kind[0]))
            listed = ", ".join(f"{gap} mm ({n} times)" for gap, n in shown)
            listed += f", and {len(kinds) - len(shown)} others" if len(kinds) > len(shown) else ""
            problems.append(f"the distances between slices are not uniform: {listed}; the allowed difference is {allowed:.3g} mm")
    travel = positions[order[-1]] - positions[order[0]]
    sideways = travel - (travel @ normal) * normal
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(sideways), abs(float(travel @ normal)))))
    if tilt > TILT_TOLERANCE_DEGREES:
        problems.append(f"the stack is tilted by {tilt:.1f} degrees (gantry tilt); allowed are {TILT_TOLERANCE_DEGREES} degrees")
    return problems


def _remarks(headers: Sequence[pydicom.Dataset]) -> list[str]:
    notes = []
    if frames_are_unrelated(headers):
        notes.append("every slice has another FrameOfReferenceUID, as after some de-identification; slice positions were used")
    expected = whole_number(headers[0].get("ImagesInAcquisition"))
    numbers = sorted(whole_number(h.get("InstanceNumber")) for h in headers)
    if expected > len(headers):
        raise GeometryError(
            f"The series states {expected} ImagesInAcquisition, {len(headers)} are there: slices are missing. "
            "Send it completely. Of several reconstructions of one acquisition each may state the images of all: export it with "
            "its own number."
        )
    if numbers[0] > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        notes.append(f"the first slice has InstanceNumber {numbers[0]}: earlier slices may be missing")
    return notes
