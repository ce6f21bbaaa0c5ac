"""De-identify one DICOM dataset by the Basic Application Confidentiality Profile of PS3.15, Annex E, also inside of sequences."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from functools import cache

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

import minivess
from minivess.dicom.source_header import text_of

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
#: What the profile does with an attribute.
Action = str


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

    def patient(self, original: str) -> str:
        """Return the PatientID that stands for another one."""
        return f"P{self._digest('patient', original)[:6].hex().upper()}"

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{original}".encode(), "sha256")


def deidentify(dataset: Dataset, pseudonyms: Pseudonyms) -> Counter[tuple[str, Action]]:
    """Remove from a dataset what identifies the patient, in place.

    Attributes of the profile's table are removed, emptied, replaced by dummy values, or, if UIDs, by pseudonyms; so are private
    attributes, curves and overlays, and attributes that the standard does not know. Patient ID and name become one pseudonym.
    Pixels are not looked at.

    Args:
        dataset: A dataset that was read from a file, with its file meta information.
        pseudonyms: Gives identifiers.

    Returns:
        How often which attribute was changed, by its keyword or tag and what was done.
    """
    dataset.decode()  # as long as its character set is known
    patient = pseudonyms.patient(text_of(dataset, "PatientID") or text_of(dataset, "PatientName"))
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


def _clean(dataset: Dataset, pseudonyms: Pseudonyms, changes: Counter[tuple[str, Action]]) -> None:
    for tag in list(dataset.keys()):
        action = _action_of(tag)
        element = dataset[tag]
        if element.VR == "SQ" and action not in ("keep", "replace UID", "keep, with other UIDs"):
            action = "remove"  # an item emptied attribute by attribute says nothing, and is often not valid
        if action == "remove":
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, pseudonyms, changes)
        else:
            _ACTIONS[action](element, pseudonyms)
        if action not in ("keep", "keep, with other UIDs"):
            changes[element.keyword or str(tag), action] += 1


def _empty(element: DataElement, _: Pseudonyms) -> None:
    element.value = element.empty_value


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


def _action_of(tag: BaseTag) -> Action:
    """Return what is done with an attribute of any object: with a dummy value it is valid wherever a value is needed."""
    of_a_file = tag.group > 0x0002  # below are those of a network message and of the file itself
    if not of_a_file or tag.is_private or tag.group & 0xFF00 in _GRAPHICS or not dictionary_has_tag(tag):
        return "remove"
    return _table().get(tag, "keep")


@cache
def _table() -> dict[int, Action]:
    """Read the table of the standard: tag -> what is done."""
    actions = {
        "X_TAGS": "remove", "Z_TAGS": "empty", "X_Z_TAGS": "empty", "D_TAGS": "replace", "Z_D_TAGS": "replace",
        "X_D_TAGS": "replace", "X_Z_D_TAGS": "replace", "U_TAGS": "replace UID", "X_Z_U_STAR_TAGS": "keep, with other UIDs",
    }  # fmt: skip
    table = dicom_anonymization_database_selector(_TABLE)
    return {int(Tag(*tag)): action for name, action in actions.items() for tag in table[name] if len(tag) == 2}


def _code_of_profile() -> Dataset:
    code = codes.DCM.BasicApplicationConfidentialityProfile
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
