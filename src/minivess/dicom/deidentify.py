"""De-identify all DICOM images of a folder, and say what was removed without saying whose it was."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import UID

from minivess.dicom.confidentiality_profile import EDITION, Action, Pseudonyms, deidentify
from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.series_files import check_deflated, list_files
from minivess.dicom.source_header import text_of
from minivess.errors import InputError
from minivess.paths import atomic_file, atomic_folder

#: Name of the report in the folder of the de-identified files.
REPORT = "deidentification.json"
_KEY_BYTES = 32
_RESULTS = ("Segmentation Storage", "Parametric Map Storage")


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

    What the profile cannot clean is left out and counted: secondary captures and other pictures of a screen, reports, documents,
    and files that cannot be read.

    Args:
        source: Any number of patients, studies and series; it is not changed.
        target: New folder: PATIENT/SERIES/NUMBER.dcm, and the report.
        key: Secret of :func:`read_key`.
        progress: Called with the number of files that are done, and of all.

    Raises:
        InputError: When a folder cannot be read, or no file can be de-identified.
        OutputError: When the target exists and is not empty, or cannot be written.
    """
    files, links = list_files(source)
    report, pseudonyms = DeidentificationReport(), Pseudonyms(key)
    if links:
        report.left_out["linked folder, which is not followed"] = len(links)
    slices: dict[str, int] = {}  # SeriesInstanceUID -> number of its files; the order is that of the series' names
    unknown_pixels = 0
    with atomic_folder(target) as folder:
        for number, file in enumerate(files, start=1):
            if progress is not None:
                progress(number, len(files))
            dataset = _deidentified(file, pseudonyms, report)
            if dataset is None:
                continue
            unknown_pixels += text_of(dataset, "BurnedInAnnotation").upper() != "NO"
            uid = str(dataset.SeriesInstanceUID)
            slices[uid] = slices.get(uid, 0) + 1
            path = folder / str(dataset.PatientID) / f"series_{list(slices).index(uid) + 1:03d}" / f"{slices[uid]:05d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(path, enforce_file_format=True)
            report.files[str(dataset.PatientID)] += 1
        if not report.files:
            raise InputError(
                f"{source} has no image that can be de-identified. Left out: {_counts(report.left_out) or 'nothing'}."
            )
        if unknown_pixels:
            report.remarks.append(
                f"{unknown_pixels} files do not say BurnedInAnnotation NO: look whether something is written into their pixels."
            )
        report.remarks.append("Faces can be rendered from volumes of a head: pixels were not changed.")
        (folder / REPORT).write_text(json.dumps(report.to_json(), indent=2), encoding="utf-8")
    return report


def _deidentified(file: Path, pseudonyms: Pseudonyms, report: DeidentificationReport) -> pydicom.Dataset | None:
    """Read and de-identify a file; count one that is left out."""
    try:
        with damaged_dicom("a file"):
            check_deflated(file)
            dataset = pydicom.dcmread(file)
            reason = _reason_to_leave_out(dataset)
            changes = Counter() if reason else deidentify(dataset, pseudonyms)
    except InputError:
        reason = "no DICOM file, or a damaged one"
    if reason:
        report.left_out[reason] += 1
        return None
    report.attributes += changes
    return dataset


def _reason_to_leave_out(dataset: pydicom.Dataset) -> str:
    """Return what the profile cannot clean in an object; empty when it can."""
    kind = UID(dataset.SOPClassUID).name
    if "Secondary Capture" in kind or not kind.endswith(("Image Storage", *_RESULTS)):
        return kind
    return "BurnedInAnnotation is YES" if text_of(dataset, "BurnedInAnnotation").upper() == "YES" else ""


def _counts(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(left_out.items()))
