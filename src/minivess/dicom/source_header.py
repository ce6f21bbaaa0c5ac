"""What a derived object takes from its source images: repaired where that is certain, left empty where it is not."""

from __future__ import annotations

import copy
import math
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom import config
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.valuerep import DA, TM, validate_value

#: Attributes of patient and study that may be empty but must exist (type 2); de-identified files often lack them.
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip
#: Other attributes of patient and study, where the source has them. What is told of the patient in free text is not repeated.
OPTIONAL = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyDescription",
)  # fmt: skip
#: Of an animal (PS3.3, C.7.1.1): type 2C where the species is stated.
_OF_AN_ANIMAL = (
    "PatientSexNeutered", "PatientBreedDescription", "ResponsiblePerson", "ResponsibleOrganization",
)  # fmt: skip
_ANIMAL_CODES = ("PatientBreedCodeSequence", "BreedRegistrationSequence")
_SPECIES_CODES = "PatientSpeciesCodeSequence"
#: The clinical trial subject module (PS3.3, C.7.1.3): type 1, and type 2.
_OF_A_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID")
_OF_A_TRIAL_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_METHOD_CODES = "DeidentificationMethodCodeSequence"
OF_THE_PATIENT = (
    *TYPE_2, *OPTIONAL, "PatientSpeciesDescription", *_OF_AN_ANIMAL, *_ANIMAL_CODES, "ResponsiblePersonRole", *_OF_A_TRIAL,
    *_OF_A_TRIAL_2, _SPECIES_CODES, _METHOD_CODES,
)  # fmt: skip
OF_LOSSY_COMPRESSION = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
#: Transfer syntaxes that always lose something, and the name of their method; others may, and their images say so.
_LOSSY = {JPEGBaseline8Bit: "ISO_10918_1", JPEGExtended12Bit: "ISO_10918_1", JPEGLSNearLossless: "ISO_14495_1"}
_OF_THE_FRAME_OF_REFERENCE = "PositionReferenceIndicator"  # type 2
_OF_THE_IMAGE = (
    "Rows", "Columns", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "ImagePositionPatient",
)  # fmt: skip
#: They say who and what: a part of one may be another one's, so that they are never cut.
_IDENTIFIERS = frozenset(
    {
        "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID",
        "ClinicalTrialSiteID",
    }
)  # fmt: skip
_PARSED = {"DA": DA, "TM": TM}
#: A code string that begins with a letter, or a UID.
_PLAIN = re.compile(r"[A-Z][A-Z0-9_ ]{0,15}|[0-2](\.[0-9]+)+|")
#: Longest value of a value representation, in characters (PS3.5, table 6.2-1).
_LENGTHS = {"LO": 64, "SH": 16, "PN": 64, "CS": 16}


def source_headers(datasets: Sequence[pydicom.Dataset], spacing_mm: float) -> tuple[list[pydicom.Dataset], list[str]]:
    """Return headers of source images for a derived object, in UTF-8, with the patient and the study of the first image.

    Args:
        datasets: Images of one series; they are not changed.
        spacing_mm: Distance of the slices, as their positions say; also the thickness where none is stated.

    Returns:
        One header an image, in their order; and remarks on what was repaired or left empty, by keyword, without any value.
    """
    first, notes = datasets[0], []
    about = pydicom.Dataset()
    about.SpecificCharacterSet = "ISO_IR 192"
    for keywords, if_missing in _modules_of(first):
        notes += _take(first, about, keywords, if_missing)
    for keyword in (_METHOD_CODES, _SPECIES_CODES, *_ANIMAL_CODES):
        codes = _codes_in_utf8(first, keyword)
        if codes is not None:
            about[keyword] = codes
        elif keyword in _ANIMAL_CODES and _is_animal(first):
            setattr(about, keyword, [])
    about.update(_lossy_compression(datasets))
    modality = modality_of(datasets) or "OT"
    headers = []
    for dataset in datasets:
        header = pydicom.Dataset()
        header.update(about)
        for keyword in _OF_THE_IMAGE:
            if keyword in dataset:
                header[keyword] = dataset[keyword]
        header.Modality = modality
        header.SeriesNumber = max(0, whole_number(dataset.get("SeriesNumber")))
        header.FrameOfReferenceUID = first.FrameOfReferenceUID
        header.PixelSpacing = first.PixelSpacing
        header.ImageOrientationPatient = first.ImageOrientationPatient
        header.SliceThickness = _thickness(dataset, spacing_mm)
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        headers.append(header)
    return headers, notes


def _is_animal(source: pydicom.Dataset) -> bool:
    return bool(text_of(source, "PatientSpeciesDescription")) or _codes_in_utf8(source, _SPECIES_CODES) is not None


def _modules_of(source: pydicom.Dataset) -> list[tuple[Sequence[str], str | None]]:
    """Return the attributes to take, and what stands for one without a value: an empty text, or nothing at all (None)."""
    modules: list[tuple[Sequence[str], str | None]] = [(TYPE_2, ""), (OPTIONAL, None), ([_OF_THE_FRAME_OF_REFERENCE], "")]
    if _is_animal(source):
        modules += [(["PatientSpeciesDescription", "ResponsiblePersonRole"], None), (_OF_AN_ANIMAL, "")]
    if all(clean_text(source, keyword)[0] for keyword in _OF_A_TRIAL):
        modules += [(_OF_A_TRIAL, None), (_OF_A_TRIAL_2, "")]
    return modules


def _codes_in_utf8(source: pydicom.Dataset, keyword: str) -> pydicom.DataElement | None:
    """Return a copy of a sequence of codes, its texts decoded by the character set of the source; None where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of unknown character sets, and quotes values
        try:
            element = copy.deepcopy(source[keyword])
            if not isinstance(element.value, pydicom.Sequence) or not element.value:
                return None
            for item in element.value:
                item.decode()
        except Exception:  # noqa: BLE001 (pydicom converts here, and raises what it likes)
            return None
    return element


def _take(source: pydicom.Dataset, target: pydicom.Dataset, keywords: Sequence[str], if_missing: str | None) -> list[str]:
    """Copy attributes that are text, and say what was repaired; an attribute without a value is empty, or left out."""
    notes = []
    for keyword in keywords:
        value, note = clean_text(source, keyword)
        if note:
            notes.append(f"{keyword} of the source is {note}")
        if value or if_missing is not None:
            setattr(target, keyword, value or if_missing)
    if "ResponsiblePerson" in target and "ResponsiblePersonRole" not in target:
        target.ResponsiblePerson = ""  # a person has a role (type 1C)
    return notes


def _lossy_compression(datasets: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """Return what is told of lossy compression: what is derived from one lossy image is lossy for ever (PS3.3, C.7.6.1.1.5)."""
    told = pydicom.Dataset()
    for dataset in datasets:
        method = _LOSSY.get(dataset.file_meta.TransferSyntaxUID)
        if method is None and text_of(dataset, "LossyImageCompression") != "01":
            continue
        told.LossyImageCompression = "01"
        for keyword in OF_LOSSY_COMPRESSION[1:]:
            value, _ = clean_text(dataset, keyword)
            if value:
                setattr(told, keyword, value.split("\\"))
        if method is not None:
            told.setdefault("LossyImageCompressionMethod", method)
        break
    return told


def modality_of(datasets: Sequence[pydicom.Dataset]) -> str:
    """Return the modality of a series, also where some of its images do not state it; empty when none does.

    Args:
        datasets: Images of one series.
    """
    return next(filter(None, (text_of(dataset, "Modality") for dataset in datasets)), "")


def whole_number(value: Any) -> int:
    """Return a number of an element; 0 where it is missing, empty or text."""
    try:
        return int(str(value).strip())
    except ValueError:
        return 0


def text_of(dataset: pydicom.Dataset, keyword: str) -> str:
    """Return an element as text, decoded by whatever character set the file states, or misstates; empty when it is missing.

    Args:
        dataset: A data set as it was read.
        keyword: Keyword of the element.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of unknown character sets, and quotes values
        try:
            value = dataset.get(keyword)
        except Exception:  # noqa: BLE001 (pydicom converts here, and raises what it likes)
            return ""
        if isinstance(value, pydicom.Sequence):  # an element of another kind than the standard says
            return ""
        parts = value if isinstance(value, MultiValue) else [] if value is None else [value]
        return "\\".join(map(str, parts)).strip().replace("\0", "")


def shown(text: str) -> str:
    """Return a code or a UID for a message; another text, which may be of the patient, is not repeated."""
    return text if _PLAIN.fullmatch(text) else "a value that is not allowed here"


def clean_text(dataset: pydicom.Dataset, keyword: str) -> tuple[str, str]:
    """Return the value of an attribute that the standard allows, and what was done to it; several values as text in one.

    Args:
        dataset: A source image.
        keyword: Keyword of an attribute.
    """
    text = text_of(dataset, keyword)
    if pydicom.datadict.dictionary_VM(keyword) == "1":
        return _clean(keyword, text)
    parts = [_clean(keyword, part.strip()) for part in text.split("\\")]
    return "\\".join(part for part, _ in parts if part), next((note for _, note in parts if note), "")


def _clean(keyword: str, text: str) -> tuple[str, str]:
    vr = pydicom.datadict.dictionary_VR(keyword)
    if not text or _is_valid(keyword, vr, text):
        return text, ""
    repaired = _repaired(keyword, vr, text)
    if repaired and _is_valid(keyword, vr, repaired):
        return repaired, "written in another form than the standard allows; it was repaired"
    return "", "not what the standard allows; it was left empty"


def _repaired(keyword: str, vr: str, text: str) -> str:
    if vr == "DA" and (match := re.fullmatch(r"(\d{4})[-./](\d{2})[-./](\d{2})", text)):
        return "".join(match.groups())
    if vr == "TM" and re.fullmatch(r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?", text):
        return text.replace(":", "")
    if (
        keyword == "PatientSex"
        and text[:1].upper() in ("F", "M", "O")
        and text.lower() in ("female", "male", "other", "f", "m", "o")
    ):
        return text[:1].upper()
    if keyword in _IDENTIFIERS:
        return ""
    text = "".join(" " if character == "\\" or _is_control(character) else character for character in text).strip()
    if vr == "CS":
        return text.upper()[: _LENGTHS["CS"]]
    return text[: _LENGTHS[vr]] if vr in _LENGTHS else ""


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


def _is_valid(keyword: str, vr: str, text: str) -> bool:
    if "\\" in text or any(map(_is_control, text)) or (keyword == "PatientSex" and text not in ("F", "M", "O")):
        return False
    try:
        validate_value(vr, text, config.RAISE)
        if vr in _PARSED:
            _PARSED[vr](text)  # the pattern allows the 31st of February
    except ValueError:
        return False
    return not (vr == "PN" and len(text) > 3 * _LENGTHS["PN"])


def _thickness(dataset: pydicom.Dataset, spacing_mm: float) -> float:
    try:
        stated = float(dataset.get("SliceThickness") or 0)
    except (TypeError, ValueError):
        stated = 0.0
    return stated if 0 < stated < math.inf else round(spacing_mm, 6)
