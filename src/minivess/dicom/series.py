"""Read exactly one series as a volume, or refuse it with the numbers. Nothing is averaged, dropped or guessed."""

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

from minivess.dicom.frames import from_dicom
from minivess.errors import GeometryError, InputError
from minivess.volume import Volume
from minivess.volume.checks import LIMIT_BYTES, check_budget, check_finite

#: Two distances between slices count as equal up to the larger of these.
GAP_TOLERANCE_MM = 0.01
GAP_TOLERANCE_SHARE = 0.01
#: A stack whose slices are shifted sideways by more than this is tilted.
TILT_TOLERANCE_DEGREES = 0.1
ORIENTATION_TOLERANCE = 1e-4

#: Modalities that are no images of a volume.
NO_IMAGES = frozenset({"SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "PR", "KO", "REG", "DOC"})
_NEEDED = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID")


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series.

    Attributes:
        volume: The image in mm; modality values (rescale slope and intercept applied), float32.
        datasets: The instances with their pixels, for what is derived from them.
        notes: What a reader of the result should know about the series.
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
    """Read the one image series in a folder and its sub-folders.

    Args:
        folder: Where the files are; their names and order do not matter.
        limit_bytes: The largest decoded array.

    Raises:
        InputError: When there is no image series or more than one (with the candidates), a file is damaged, or the images
            are of a kind that is not read (multi-frame, colour, burned-in annotation).
        GeometryError: When slices are missing, doubled, tilted, of mixed orientation or size (with the numbers).
        UnsafeFileError: When the images are larger than allowed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No such folder: {folder}. Name the folder that holds the DICOM files of one series.")
    candidates, ignored = _by_series(folder)
    files = _the_one(candidates, folder, ignored)
    headers = [_read(file, pixels=False) for file in files]
    _check_kind(headers)
    _check_geometry(headers)
    notes = [f"{len(ignored)} files that are no DICOM were ignored"] if ignored else []
    if _frames_say_nothing(headers):
        notes.append("every slice names another FrameOfReferenceUID, as some de-identification does; positions were trusted")
    check_budget((len(files), int(headers[0].Rows), int(headers[0].Columns)), 4, limit_bytes=limit_bytes, source=folder.name)
    datasets = [_read(file, pixels=True) for file in files]
    for file, dataset in zip(files, datasets, strict=True):
        _decode(dataset, file)
    try:
        volume = from_dicom(hd.get_volume_from_series(_in_one_frame(datasets), dtype=np.float32))
    except (ValueError, AttributeError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"The series in {folder.name} cannot be read as one volume: {error}") from error
    check_finite(volume.array, source=folder.name)
    return Series(volume, datasets, tuple(notes))


def _by_series(folder: Path) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    candidates: dict[str, list[Path]] = defaultdict(list)
    ignored = []
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "DICOMDIR"):
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "Modality"])
        except InvalidDicomError as error:
            if not _is_foreign(file):
                raise InputError(
                    f"{file.name} is damaged DICOM ({error}). Export it again, or take it out of the folder."
                ) from error
            ignored.append(file.name)
            continue
        except (AttributeError, ValueError, EOFError, OSError, NotImplementedError, RecursionError) as error:
            raise InputError(f"{file.name} is damaged DICOM ({error}). Export it again.") from error
        if "SeriesInstanceUID" not in header:
            raise InputError(f"{file.name} does not say which series it belongs to (no SeriesInstanceUID). Export it again.")
        if header.get("Modality") not in NO_IMAGES:
            candidates[str(header.SeriesInstanceUID)].append(file)
    return dict(candidates), tuple(ignored)


def _is_foreign(file: Path) -> bool:
    """Tell whether a file is plainly something else: words, or another suffix. A DICOM file often has none."""
    if file.suffix.lower() not in ("", ".dcm", ".ima") and not file.suffix[1:].isdigit():
        return True
    start = file.read_bytes()[:4096]
    return bool(start) and file.suffix.lower() == "" and b"\0" not in start and start.isascii()


def _the_one(candidates: dict[str, list[Path]], folder: Path, ignored: tuple[str, ...]) -> list[Path]:
    if not candidates:
        raise InputError(f"No DICOM image series in {folder}; {len(ignored)} other files were seen.")
    if len(candidates) > 1:
        rows = []
        for uid, files in candidates.items():
            header = pydicom.dcmread(files[0], stop_before_pixels=True)
            number, modality = header.get("SeriesNumber", "-"), header.get("Modality", "-")
            rows.append(f"  {uid}: {len(files)} files, {modality}, series number {number}, in {files[0].parent.name}/")
        raise InputError(
            f"{len(candidates)} image series in {folder.name}; exactly one is segmented at a time. Candidates:\n"
            + "\n".join(rows)
            + "\nGive each a folder of its own."
        )
    return next(iter(candidates.values()))


def _read(file: Path, *, pixels: bool) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(file, stop_before_pixels=not pixels)
    except (InvalidDicomError, AttributeError, ValueError, EOFError, OSError, NotImplementedError, RecursionError) as error:
        raise InputError(f"{file.name} is damaged DICOM ({error}). Export it again.") from error


def _decode(dataset: pydicom.Dataset, file: Path) -> None:
    """Decode now, so that a file with too few pixels is named."""
    try:
        shape = dataset.pixel_array.shape
    except (AttributeError, ValueError, RuntimeError, NotImplementedError, KeyError) as error:
        raise InputError(f"{file.name}: its pixels cannot be decoded ({error}).") from error
    if shape != (dataset.Rows, dataset.Columns):
        raise InputError(f"{file.name}: pixels of shape {shape}, the header says {(dataset.Rows, dataset.Columns)}.")


def _in_one_frame(datasets: Sequence[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """Give all slices the first one's frame of reference; by now it is known that they share one or that it says nothing."""
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
        raise InputError("Multi-frame (enhanced) images are not read yet. Export the series as single-frame images.")
    if any(int(h.get("SamplesPerPixel", 1)) != 1 for h in headers):
        raise InputError(f"Grey images are segmented; these are {first.get('PhotometricInterpretation', 'of unknown kind')}.")
    if any(str(h.get("BurnedInAnnotation", "")).upper() == "YES" for h in headers):
        raise InputError("BurnedInAnnotation is YES: text in the pixels may name the patient. Clean the pixels first.")
    missing = Counter(keyword for h in headers for keyword in _NEEDED if keyword not in h or h[keyword].is_empty)
    if missing:
        listed = ", ".join(f"{keyword} in {n} of {len(headers)} files" for keyword, n in missing.items())
        raise GeometryError(f"The series does not say where its slices are: missing {listed}.")


def _check_geometry(headers: Sequence[pydicom.Dataset]) -> None:
    """Collect everything that is wrong, so that one look at the message is enough."""
    findings = []
    for keyword in ("Rows", "Columns", "FrameOfReferenceUID", "PixelSpacing"):
        values = Counter(str(h[keyword].value) for h in headers)
        if len(values) > 1 and not (keyword == "FrameOfReferenceUID" and _frames_say_nothing(headers)):
            listed = ", ".join(f"{value} ({n} slices)" for value, n in values.most_common(4))
            findings.append(f"{keyword} differs between slices: {listed}")
    orientations = np.array([[float(v) for v in h.ImageOrientationPatient] for h in headers])
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        kinds = Counter(str(np.round(o, 3).tolist()) for o in orientations)
        listed = ", ".join(f"{o} ({n} slices)" for o, n in kinds.most_common(4))
        findings.append(f"ImageOrientationPatient is mixed: {listed}. A localizer may lie among the slices")
    elif len(headers) < 2:
        findings.append("one slice only; a volume needs at least two")
    else:
        positions = np.array([[float(v) for v in h.ImagePositionPatient] for h in headers])
        findings += _position_findings(positions, orientations[0])
    if findings:
        raise GeometryError(
            f"The series of {len(headers)} slices is no regular volume:\n  "
            + "\n  ".join(findings)
            + "\nExport the series again, complete and without tilt; nothing was written."
        )


def _frames_say_nothing(headers: Sequence[pydicom.Dataset]) -> bool:
    """Tell whether no two slices share a frame of reference, which no scanner writes: the UIDs were replaced one by one."""
    return len(headers) > 2 and len({str(h.FrameOfReferenceUID) for h in headers}) == len(headers)


def _position_findings(positions: NDArray[np.float64], orientation: NDArray[np.float64]) -> list[str]:
    normal = np.cross(orientation[:3], orientation[3:])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    findings = []
    doubled = int((gaps < 1e-6 * max(1.0, float(np.ptp(heights)))).sum())
    if doubled:
        findings.append(f"{doubled} slices lie at the place of another (phases, echoes or copies in one series)")
    real = gaps[gaps > 1e-9]
    if real.size:
        usual = float(np.median(real))
        allowed = max(min(GAP_TOLERANCE_MM, 0.1 * usual), GAP_TOLERANCE_SHARE * usual)
        if np.abs(real - usual).max() > allowed:
            kinds = Counter(f"{gap:.4g}" for gap in real)
            listed = ", ".join(f"{gap} mm ({n} times)" for gap, n in sorted(kinds.items(), key=lambda kind: float(kind[0])))
            findings.append(f"distances between slices are not uniform: {listed}; allowed difference {allowed:.3g} mm")
    travel = positions[order[-1]] - positions[order[0]]
    sideways = travel - (travel @ normal) * normal
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(sideways), abs(float(travel @ normal)))))
    if tilt > TILT_TOLERANCE_DEGREES:
        findings.append(f"the stack is tilted by {tilt:.1f} degrees (gantry tilt); allowed {TILT_TOLERANCE_DEGREES} degrees")
    return findings
