"""De-identify all DICOM images of a folder, and say what was removed without saying whose it was."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom import uid

from minivess.dicom.codestream_text import remove_codestream_text
from minivess.dicom.confidentiality_profile import EDITION, Action, NotCleanableError, Pseudonyms, deidentify, has_identity
from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.series_files import check_deflated, list_files
from minivess.dicom.source_header import text_of
from minivess.errors import InputError, UnsafeFileError
from minivess.paths import atomic_file, atomic_folder

#: Name of the report in the folder of the de-identified files.
REPORT = "deidentification.json"
_KEY_BYTES = 32
#: Objects of volumes; pictures of a screen, photographs, ultrasound, reports and documents may show or name a person.
ACCEPTED = frozenset(
    {
        uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage,
        uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage,
        uid.PositronEmissionTomographyImageStorage, uid.EnhancedPETImageStorage, uid.LegacyConvertedEnhancedPETImageStorage,
        uid.NuclearMedicineImageStorage, uid.XRayAngiographicImageStorage, uid.EnhancedXAImageStorage,
        uid.XRay3DAngiographicImageStorage, uid.SegmentationStorage, uid.ParametricMapStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation Storage
    }
)  # fmt: skip


@dataclass
class DeidentificationReport:
    """What was done with a folder; nothing in it is of the originals.

    Attributes:
        files: Pseudonym of a patient -> number of files.
        attributes: Keyword or tag and what was done -> how often.
        left_out: Why files were left out -> how many.
        remarks: What a person should look at before the files are given away.
    """

    files: Counter[str] = field(default_factory=Counter)
    attributes: Counter[tuple[str, Action]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "profile": f"DICOM PS3.15 {EDITION}, Annex E, Basic Application Confidentiality Profile, without options",
            "patients": dict(sorted(self.files.items())),
            "attributes": [{"attribute": n, "action": a, "count": c} for (n, a), c in sorted(self.attributes.items())],
            "left_out": dict(sorted(self.left_out.items())),
            "remarks": self.remarks,
        }


def read_key(file: Path | None) -> bytes:
    """Read the secret that decides the pseudonyms; make it where there is none. Without a file it is of this run only.

    Args:
        file: Its file; only the user may read a new one.

    Raises:
        InputError: When the file holds no such secret.
    """
    if file is None:
        return secrets.token_bytes(_KEY_BYTES)
    if not file.exists():
        with atomic_file(file) as temporary:
            temporary.write_text(secrets.token_hex(_KEY_BYTES))
            temporary.chmod(0o600)
    try:
        key = bytes.fromhex(file.read_text().strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) < _KEY_BYTES:
        raise InputError(
            f"{file} is no key: one has {2 * _KEY_BYTES} hexadecimal digits. Name a file that does not exist: it is made."
        )
    return key


def deidentify_folder(
    source: Path, target: Path, key: bytes, progress: Callable[[int, int], None] | None = None
) -> DeidentificationReport:
    """Write de-identified copies of all images, segmentations and parametric maps of a folder; all of them or none.

    Left out and counted is what is not of :data:`ACCEPTED`, what the profile cannot clean, and what cannot be read.

    Args:
        source: Any number of patients, studies and series; it is not changed.
        target: New folder: PATIENT/SERIES/NUMBER.dcm, and the report.
        key: Secret of :func:`read_key`.
        progress: Called with the number of files that are done, and of all.

    Raises:
        InputError: When there is no such folder, one cannot be read, or no file can be de-identified.
        OutputError: When the target exists and is not empty, or cannot be written.
    """
    if not source.is_dir():
        raise InputError(f"This is no folder: {source}. Choose the folder that contains the DICOM files.")
    files, links = list_files(source)
    report, pseudonyms = DeidentificationReport(), Pseudonyms(key)
    if links:
        report.left_out["linked folder, which is not followed"] = len(links)
    slices: dict[str, int] = {}  # SeriesInstanceUID -> number of its files; the order is that of the series' names
    unsaid = {"burned": 0, "patient": 0, "comments": 0}
    with atomic_folder(target) as folder:
        for number, file in enumerate(files, start=1):
            if progress is not None:
                progress(number, len(files))
            dataset = _deidentified(file, pseudonyms, report, unsaid)
            if dataset is None:
                continue
            series = str(dataset.SeriesInstanceUID)
            slices[series] = slices.get(series, 0) + 1
            path = folder / str(dataset.PatientID) / f"series_{list(slices).index(series) + 1:03d}" / f"{slices[series]:05d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(path, enforce_file_format=True)
            report.files[str(dataset.PatientID)] += 1
        if not report.files:
            raise InputError(
                f"{source} has no image that can be de-identified. Left out: {_counts(report.left_out) or 'nothing'}."
            )
        report.remarks += _remarks(report, unsaid)
        (folder / REPORT).write_text(json.dumps(report.to_json(), indent=2), encoding="utf-8")
    return report


def _deidentified(
    file: Path, pseudonyms: Pseudonyms, report: DeidentificationReport, unsaid: dict[str, int]
) -> pydicom.Dataset | None:
    """Read and de-identify a file; count one that is left out."""
    changes: Counter[tuple[str, Action]] = Counter()
    try:
        with damaged_dicom("a file"):
            check_deflated(file)
            dataset = pydicom.dcmread(file)
            reason = _reason_to_leave_out(dataset)
            named = has_identity(dataset)
            if not reason:
                commented = _without_comments(dataset)
                changes = deidentify(dataset, pseudonyms)
                dataset.save_as(BytesIO(), enforce_file_format=True)  # what cannot be written is damaged, too
    except NotCleanableError as error:
        reason = str(error)
    except InputError:
        reason = "no DICOM file, or a damaged one"
    except UnsafeFileError:
        reason = "inflates beyond its limit"
    if reason:
        report.left_out[reason] += 1
        return None
    report.attributes += changes
    unsaid["patient"] += not named
    unsaid["comments"] += commented
    unsaid["burned"] += text_of(dataset, "BurnedInAnnotation").upper() != "NO"
    return dataset


def _without_comments(dataset: pydicom.Dataset) -> bool:
    """Remove comments beside the picture in compressed pixels; return whether there were any.

    Raises:
        NotCleanableError: When they cannot be removed.
    """
    try:
        return remove_codestream_text(dataset)
    except (ValueError, IndexError) as error:
        raise NotCleanableError("compressed pixels that cannot be searched for text") from error


def _reason_to_leave_out(dataset: pydicom.Dataset) -> str:
    """Return why an object cannot be given away by these rules; empty when it can."""
    kind = uid.UID(dataset.SOPClassUID)
    if kind not in ACCEPTED:
        return kind.name
    if not (dataset.SOPInstanceUID and dataset.SeriesInstanceUID and dataset.StudyInstanceUID):
        return "no DICOM file, or a damaged one"
    if text_of(dataset, "BurnedInAnnotation").upper() == "YES":
        return "BurnedInAnnotation is YES"
    if "ConversionType" in dataset or "SCREEN" in text_of(dataset, "ImageType").upper():
        return "picture of a screen or of paper"
    if any(element.tag.group & 0xFF00 == 0x6000 and element.tag.element == 0x0102 and element.value for element in dataset):
        return "overlay within the pixels"
    return ""


def _remarks(report: DeidentificationReport, unsaid: dict[str, int]) -> list[str]:
    """Return what a person should look at."""
    remarks = []
    if unsaid["burned"]:
        remarks.append(
            f"{unsaid['burned']} files do not say BurnedInAnnotation NO: look whether something is written into their pixels."
        )
    if unsaid["comments"]:
        remarks.append(
            f"{unsaid['comments']} files had text or headers of programs within their compressed pixels; they were removed."
        )
    if unsaid["patient"]:
        remarks.append(
            f"{unsaid['patient']} files have neither PatientID nor PatientName: each study counts as a patient of its own."
        )
    texts = sorted(name for name, action in report.attributes if action == "keep its text")
    if texts:
        remarks.append(f"Short texts were kept; look at them: {', '.join(texts)}.")
    return [*remarks, "Faces can be rendered from volumes of a head: pixels were not changed."]


def _counts(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(left_out.items()))
