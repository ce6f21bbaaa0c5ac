"""Read exactly one DICOM series as a volume. An irregular series is refused; no slice is averaged, dropped or guessed."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.frames import from_dicom
from minivess.errors import GeometryError, InputError
from minivess.volume import Volume
from minivess.volume.checks import LIMIT_BYTES, check_budget, check_finite

#: Largest allowed difference between slice distances: the larger of an absolute and a relative tolerance.
GAP_TOLERANCE_MM = 0.01
GAP_TOLERANCE_SHARE = 0.01
#: Largest allowed angle between the slice normal and the direction from the first to the last slice.
TILT_TOLERANCE_DEGREES = 0.1
#: Largest allowed difference between direction cosines of two slices.
ORIENTATION_TOLERANCE = 1e-4

#: Modalities that do not contain images of a volume.
NO_IMAGES = frozenset({"SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "PR", "KO", "REG", "DOC"})
_REQUIRED = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID")


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series.

    Attributes:
        volume: Image in mm, float32, with rescale slope and intercept applied.
        datasets: Instances with their pixels; derived objects (SEG) refer to them.
        notes: Remarks for the report, for example about ignored files.
    """

    volume: Volume
    datasets: Sequence[pydicom.Dataset]
    notes: tuple[str, ...]

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return str(self.datasets[0].SeriesInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        """FrameOfReferenceUID of the first slice in the order of InstanceNumber and SOPInstanceUID."""
        first = min(self.datasets, key=lambda d: (int(d.get("InstanceNumber", 0) or 0), str(d.SOPInstanceUID)))
        return str(first.FrameOfReferenceUID)


def read_series(folder: Path | str, *, limit_bytes: int = LIMIT_BYTES) -> Series:
    """Read the only image series in a folder and its subfolders.

    Args:
        folder: Folder of the files; their names and order do not matter.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When there is no image series or more than one, a file is damaged, or the images are of an unsupported
            kind (multi-frame, colour, burned-in annotation).
        GeometryError: When slices are missing, duplicated or tilted, or differ in orientation or size.
        UnsafeFileError: When all images together exceed the limit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No such folder: {folder}. Choose the folder that contains the DICOM files of one series.")
    with damaged_dicom(f"The series in {folder.name}"):
        return _read_series(folder, limit_bytes)


def _read_series(folder: Path, limit_bytes: int) -> Series:
    candidates, ignored = _group_by_series(folder)
    files = _only_series(candidates, folder, ignored)
    headers = [_read(file, pixels=False) for file in files]
    _check_kind(headers)
    _check_geometry(headers)
    notes = [f"{len(ignored)} files that are not DICOM were ignored"] if ignored else []
    if _frames_are_unrelated(headers):
        notes.append("every slice has another FrameOfReferenceUID, as after some de-identification; slice positions were used")
    check_budget((len(files), int(headers[0].Rows), int(headers[0].Columns)), 4, limit_bytes=limit_bytes, source=folder.name)
    datasets = [_read(file, pixels=True) for file in files]
    for file, dataset in zip(files, datasets, strict=True):
        _decode(dataset, file)
    # Real world values may differ from slice to slice and have another meaning than the intensities that models learn from.
    frames = _with_common_frame(datasets)
    volume = from_dicom(hd.get_volume_from_series(frames, dtype=np.float32, apply_real_world_transform=False))
    check_finite(volume.array, source=folder.name)
    return Series(volume, datasets, tuple(notes))


def _group_by_series(folder: Path) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Return the image files by SeriesInstanceUID, and the names of the files that are not DICOM."""
    candidates: dict[str, list[Path]] = defaultdict(list)
    ignored = []
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "DICOMDIR"):
        try:
            with damaged_dicom(file.name):
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "Modality"])
        except InputError as error:
            if not (isinstance(error.__cause__, InvalidDicomError) and _is_foreign(file)):
                raise
            ignored.append(file.name)
            continue
        if "SeriesInstanceUID" not in header:
            raise InputError(f"{file.name} has no SeriesInstanceUID. Export it again.")
        if header.get("Modality") not in NO_IMAGES:
            candidates[str(header.SeriesInstanceUID)].append(file)
    return dict(candidates), tuple(ignored)


def _is_foreign(file: Path) -> bool:
    """Return whether a file is clearly not DICOM: it has another suffix, or no suffix and plain text."""
    if file.suffix.lower() not in ("", ".dcm", ".ima") and not file.suffix[1:].isdigit():
        return True
    start = file.read_bytes()[:4096]
    return bool(start) and file.suffix.lower() == "" and b"\0" not in start and start.isascii()


def _only_series(candidates: dict[str, list[Path]], folder: Path, ignored: tuple[str, ...]) -> list[Path]:
    if not candidates:
        raise InputError(f"No DICOM image series in {folder}, only {len(ignored)} other files. Choose the folder of one series.")
    if len(candidates) > 1:
        rows = []
        for uid, files in candidates.items():
            header = pydicom.dcmread(files[0], stop_before_pixels=True)
            number, modality = header.get("SeriesNumber", "-"), header.get("Modality", "-")
            rows.append(f"  {uid}: {len(files)} files, {modality}, series number {number}, in {files[0].parent.name}/")
        raise InputError(
            f"{len(candidates)} image series in {folder.name}; exactly one is required:\n"
            + "\n".join(rows)
            + "\nPut each series in a folder of its own."
        )
    return next(iter(candidates.values()))


def _read(file: Path, *, pixels: bool) -> pydicom.Dataset:
    with damaged_dicom(file.name):
        return pydicom.dcmread(file, stop_before_pixels=not pixels)


def _decode(dataset: pydicom.Dataset, file: Path) -> None:
    """Decode the pixels of one image, so that the message of a failure names its file.

    Raises:
        InputError: When the pixels cannot be decoded or do not have the shape of the header.
    """
    with damaged_dicom(f"{file.name}: the pixels"):
        shape = dataset.pixel_array.shape
    if shape != (dataset.Rows, dataset.Columns):
        raise InputError(
            f"{file.name}: the pixels have shape {shape}, the header states {(dataset.Rows, dataset.Columns)}. Export it again."
        )


def _with_common_frame(datasets: Sequence[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """Return the slices with the frame of reference of the first one; the geometry check has shown that this is valid."""
    frame = datasets[0].FrameOfReferenceUID
    if all(dataset.FrameOfReferenceUID == frame for dataset in datasets):
        return list(datasets)
    copies = [copy.copy(dataset) for dataset in datasets]
    for dataset in copies:
        dataset.FrameOfReferenceUID = frame
    return copies


def _check_kind(headers: Sequence[pydicom.Dataset]) -> None:
    first = headers[0]
    if any(int(h.get("NumberOfFrames", 1) or 1) > 1 for h in headers):
        raise InputError("Multi-frame (enhanced) images are not supported. Export the series as single-frame images.")
    if any(int(h.get("SamplesPerPixel", 1)) != 1 for h in headers):
        kind = first.get("PhotometricInterpretation", "an unknown kind")
        raise InputError(f"The images must be grey. Got {kind}. Export the series in grey.")
    if any(str(h.get("BurnedInAnnotation", "")).upper() == "YES" for h in headers):
        raise InputError("BurnedInAnnotation is YES: text in the pixels may identify the patient. Remove the text first.")
    missing = Counter(keyword for h in headers for keyword in _REQUIRED if keyword not in h or h[keyword].is_empty)
    if missing:
        listed = ", ".join(f"{keyword} in {n} of {len(headers)} files" for keyword, n in missing.items())
        raise GeometryError(f"The series lacks attributes of its geometry: missing {listed}. Export the series again.")


def _check_geometry(headers: Sequence[pydicom.Dataset]) -> None:
    """Check the geometry of all slices.

    Raises:
        GeometryError: When the slices do not form one regular volume; the message lists all problems.
    """
    problems = []
    for keyword in ("Rows", "Columns", "FrameOfReferenceUID", "PixelSpacing"):
        values = Counter(str(h[keyword].value) for h in headers)
        if len(values) > 1 and not (keyword == "FrameOfReferenceUID" and _frames_are_unrelated(headers)):
            listed = ", ".join(f"{value} ({n} slices)" for value, n in values.most_common(4))
            problems.append(f"{keyword} differs between slices: {listed}")
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


def _frames_are_unrelated(headers: Sequence[pydicom.Dataset]) -> bool:
    """Return whether no two slices have the same frame of reference: de-identification replaced the UIDs one by one."""
    return len(headers) > 2 and len({str(h.FrameOfReferenceUID) for h in headers}) == len(headers)


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
        if np.abs(distances - usual).max() > allowed:
            kinds = Counter(f"{gap:.4g}" for gap in distances)
            listed = ", ".join(f"{gap} mm ({n} times)" for gap, n in sorted(kinds.items(), key=lambda kind: float(kind[0])))
            problems.append(f"the distances between slices are not uniform: {listed}; the allowed difference is {allowed:.3g} mm")
    travel = positions[order[-1]] - positions[order[0]]
    sideways = travel - (travel @ normal) * normal
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(sideways), abs(float(travel @ normal)))))
    if tilt > TILT_TOLERANCE_DEGREES:
        problems.append(f"the stack is tilted by {tilt:.1f} degrees (gantry tilt); allowed are {TILT_TOLERANCE_DEGREES} degrees")
    return problems
