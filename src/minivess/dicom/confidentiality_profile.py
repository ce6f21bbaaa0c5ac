"""De-identify one DICOM dataset by the Basic Application Confidentiality Profile of PS3.15, Annex E, also inside of sequences."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from functools import cache

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import UID

import minivess
from minivess.dicom.source_header import text_of
from minivess.errors import InputError

#: Edition of the standard whose table is used.
EDITION = "2026c"
_TABLE = f"dicomfields_{EDITION}"
#: UIDs of the standard itself, such as a well-known frame of reference, name nobody.
_STANDARD_ROOT = "1.2.840.10008."
#: Groups of curves and overlays, 5000 to 501E and 6000 to 601E: graphics that a person has drawn or typed.
_GRAPHICS = (0x5000, 0x6000)
_DUMMY_TEXT = "REMOVED"
#: Dummy values of the value representations that cannot hold :data:`_DUMMY_TEXT`.
_DUMMIES: dict[str, str | int | float | bytes] = {
    "AS": "000Y", "DA": "19000101", "TM": "000000", "DT": "19000101000000", "DS": "0", "IS": "0", "UR": "http://removed.invalid",
    "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "UL": 0, "US": 0, "OB": b"\0\0", "OW": b"\0\0", "UN": b"\0\0", "AT": 0,
}  # fmt: skip
#: Attributes that the table does not name, and that tell of the patient or the place all the same.
_ALSO_REMOVED = frozenset(
    {
        "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar", "PatientAlternativeCalendar",
        "IssuerOfPatientIDQualifiersSequence", "IssuerOfAccessionNumberSequence", "OrderPlacerIdentifierSequence",
        "OrderFillerIdentifierSequence", "DeviceID", "NTPSourceAddress",
    }
)  # fmt: skip
_ALSO_REPLACED = frozenset({"TrackingID"})
#: Value representations of names, dates, addresses and long texts: removed where the table does not name the attribute.
_TELLING = frozenset({"PN", "DA", "TM", "DT", "AE", "AS", "UR", "LT", "ST", "UT"})
_KEPT_URL = "URNCodeValue"
#: Short texts that are kept; a person should look at them.
TEXTS = frozenset({"LO", "SH", "UC"})
#: UIDs of vocabularies and kinds of objects, which are no identifiers of instances.
_KEPT_UIDS = ("SOPClassUID", "TransferSyntaxUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID", "SOPClassesInStudy")
#: What the profile does with an attribute.
Action = str


class NotCleanableError(InputError):
    """Raised when an object holds what the profile cannot clean."""


class Pseudonyms:
    """Compute identifiers that are the same for the same original and key, and that nobody can turn back without the key."""

    def __init__(self, key: bytes) -> None:
        """Use a secret key of at least 16 random bytes."""
        self._key = key

    def uid(self, original: str) -> str:
        """Return the UID that stands for another one; UIDs of the standard stay."""
        if not original or original.startswith(_STANDARD_ROOT):
            return original
        return f"2.25.{int.from_bytes(self._digest('uid', original)[:16], 'big')}"

    def patient(self, *original: str) -> str:
        """Return the PatientID that stands for what identifies a patient."""
        return f"P{self._digest('patient', chr(0).join(original))[:6].hex().upper()}"

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{original}".encode(), "sha256")


def deidentify(dataset: Dataset, pseudonyms: Pseudonyms) -> Counter[tuple[str, Action]]:
    """Remove from a dataset what identifies the patient, in place, also inside of sequences.

    Attributes of the profile's table are removed, emptied, replaced by dummy values, or, if UIDs, by pseudonyms. Removed are also
    private attributes, curves and overlays, attributes that the standard does not know, and names, dates, addresses and long
    texts of attributes that the table does not name; other UIDs of instances become pseudonyms. Patient ID and name become one
    pseudonym. Pixels and short texts that the table does not name stay.

    Args:
        dataset: A dataset that was read from a file, with its file meta information.
        pseudonyms: Gives identifiers.

    Returns:
        How often which attribute was changed, or kept with a text, by its keyword or tag and what was done.

    Raises:
        NotCleanableError: When an attribute that is kept cannot be read.
    """
    dataset.decode()  # as long as its character set is known
    patient = pseudonyms.patient(*_identity(dataset))
    changes: Counter[tuple[str, Action]] = Counter()
    _clean(dataset, pseudonyms, changes)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = patient, patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = f"PS3.15 {EDITION} Basic Profile, MinIVess {minivess.__version__}"
    dataset.DeidentificationMethodCodeSequence = [_code_of_profile()]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    return changes


def has_identity(dataset: Dataset) -> bool:
    """Return whether a dataset says whose it is."""
    return bool(text_of(dataset, "PatientID") or text_of(dataset, "PatientName"))


def _identity(dataset: Dataset) -> tuple[str, ...]:
    """Return what tells patients apart: an ID of one hospital, or a name; without both each study is of somebody else."""
    number, name = text_of(dataset, "PatientID"), text_of(dataset, "PatientName")
    if number:
        issuer = text_of(dataset, "IssuerOfPatientID")
        return (number, issuer) if issuer else (number,)
    return (name, text_of(dataset, "PatientBirthDate")) if name else ("", "study", text_of(dataset, "StudyInstanceUID"))


def _clean(dataset: Dataset, pseudonyms: Pseudonyms, changes: Counter[tuple[str, Action]]) -> None:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        action = _action_of(element)
        if element.VR == "SQ":
            if action == "replace":  # its items cannot be made up
                action = "remove"
        elif element.VR == "UN" and action in ("keep", "replace UID"):
            raise NotCleanableError("holds a standard attribute whose representation is unknown (UN)")
        if action == "remove":
            del dataset[tag]
        elif element.VR == "SQ" and action != "empty":
            for item in element.value:
                _clean(item, pseudonyms, changes)
        else:
            _ACTIONS[action](element, pseudonyms)
        if action == "keep" and element.VR in TEXTS and element.value and "Code" not in element.keyword:
            changes[element.keyword, "keep its text"] += 1
        elif action != "keep":
            changes[element.keyword or str(tag), action] += 1


def _empty(element: DataElement, _: Pseudonyms) -> None:
    element.value = [] if element.VR == "SQ" else element.empty_value


def _replace(element: DataElement, pseudonyms: Pseudonyms) -> None:
    if element.VR == "UI":
        _replace_uid(element, pseudonyms)
    else:
        element.value = _DUMMIES.get(element.VR, _DUMMY_TEXT)


def _replace_uid(element: DataElement, pseudonyms: Pseudonyms) -> None:
    values = [element.value] if isinstance(element.value, str) else list(element.value or [])
    replaced = [UID(pseudonyms.uid(str(value))) for value in values]
    element.value = replaced if len(replaced) > 1 else "".join(replaced)


def _keep(element: DataElement, _: Pseudonyms) -> None:
    pass


_ACTIONS: dict[Action, Callable[[DataElement, Pseudonyms], None]] = {
    "keep": _keep, "empty": _empty, "replace": _replace, "replace UID": _replace_uid,
}  # fmt: skip


def _action_of(element: DataElement) -> Action:
    """Return what is done with an attribute of any object: with a dummy value it is valid wherever a value is needed."""
    tag, keyword = element.tag, element.keyword
    of_a_file = tag.group > 0x0002  # below are those of a network message and of the file itself
    if not of_a_file or tag.is_private or tag.group & 0xFF00 in _GRAPHICS or not dictionary_has_tag(tag):
        return "remove"
    stated = _table().get(tag)
    if stated is not None:
        return stated
    if keyword in _ALSO_REPLACED:
        return "replace"
    if keyword in _ALSO_REMOVED or (element.VR in _TELLING and keyword != _KEPT_URL):
        return "remove"
    return "replace UID" if element.VR == "UI" and not keyword.endswith(_KEPT_UIDS) else "keep"


@cache
def _table() -> dict[int, Action]:
    """Read the table of the standard: tag -> what is done."""
    actions = {
        "X_TAGS": "remove", "Z_TAGS": "empty", "X_Z_TAGS": "empty", "D_TAGS": "replace", "Z_D_TAGS": "replace",
        "X_D_TAGS": "replace", "X_Z_D_TAGS": "replace", "U_TAGS": "replace UID", "X_Z_U_STAR_TAGS": "keep",
    }  # fmt: skip
    table = dicom_anonymization_database_selector(_TABLE)
    found = {int(Tag(*tag)): action for name, action in actions.items() for tag in table[name] if len(tag) == 2}
    # X/Z is "remove, unless the object needs it": of sequences, only this one is needed, by enhanced images.
    optional = [Tag(*tag) for tag in table["X_Z_TAGS"] if dictionary_has_tag(Tag(*tag)) and dictionary_VR(Tag(*tag)) == "SQ"]
    return found | {int(tag): "remove" for tag in optional if keyword_for_tag(tag) != "AcquisitionContextSequence"}


def _code_of_profile() -> Dataset:
    code = codes.DCM.BasicApplicationConfidentialityProfile
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
