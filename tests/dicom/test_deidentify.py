"""De-identified copies hold nothing of the patient, in any attribute or item, and are the same images."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import UID, JPEGLSLossless

from dicom.test_entities import HEADER, write_all
from dicom.test_seg import dciodvfy
from dicom.test_series import ORIENTATIONS, edit, volume_of
from dicom.test_values import ENCODERS
from minivess.cli.main import run
from minivess.dicom import read_seg, read_series, write_series
from minivess.dicom.confidentiality_profile import EDITION, Pseudonyms
from minivess.dicom.deidentify import REPORT, deidentify_folder, read_key
from minivess.errors import InputError

CANARY = "QZXSECRET"
KEY = bytes(range(32))
#: A planted value of a value representation; the others cannot hold text.
PLANTED = {
    "DA": "19470813", "TM": "131313.131313", "DT": "19470813131313.131313", "AS": "079Y", "UI": "1.2.826.0.1.3680043.9.47081313",
    "DS": "47081313", "IS": "47081313", "UR": f"http://{CANARY}.example",
    "OB": CANARY.encode() + b"\0", "UN": CANARY.encode() + b"\0", "OW": CANARY.encode() + b"\0",
}  # fmt: skip
TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"}
#: No identifiers of instances: kinds of objects, transfer syntaxes, vocabularies.
VOCABULARY = (
    "SOPClassUID", "TransferSyntaxUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID", "SOPClassesInStudy", "CharacterSet",
)  # fmt: skip
SECRETS = (CANARY.encode(), b"19470813", b"131313.131313", b"079Y", b"47081313")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS["axial"], (12, 10, 5)), tmp_path / "series", name="run", patient_id=CANARY)


def plant(dataset: pydicom.Dataset) -> int:
    """Put a secret into every attribute of the standard that can hold one, and into an item within an item."""
    table = {Tag(*tag) for tag in dicom_anonymization_database_selector(f"dicomfields_{EDITION}")["ALL_TAGS"] if len(tag) == 2}
    item, planted = pydicom.Dataset(), 0
    for tag in map(Tag, DicomDictionary):
        representation = dictionary_VR(tag).split(" or ")[0]
        keyword = keyword_for_tag(tag)
        own = keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "ConversionType")
        coded = representation in ("CS", "DS", "IS", "OB", "OW", "UN") and tag not in table  # kinds, numbers, pixels
        if tag.group <= 2 or own or coded or keyword.endswith(VOCABULARY):
            continue
        value = PLANTED.get(representation) or (CANARY if representation in TEXT else None)
        if value is not None:
            dataset.add_new(tag, representation, value)
            item.add_new(tag, representation, value)
            planted += 1
    item.add_new(0x00111001, "LO", CANARY)
    inner = pydicom.Dataset()
    inner.ReferencedImageSequence = [item]
    dataset.SharedFunctionalGroupsSequence = [inner]  # a sequence that the profile keeps
    dataset.RequestAttributesSequence = [item]
    dataset.private_block(0x0009, CANARY, create=True).add_new(1, "LO", CANARY)
    dataset.add_new(0x60003000, "OW", CANARY.encode() + b"\0")  # an overlay
    dataset.add_new(0x60000022, "LO", CANARY)
    return planted


def test_no_planted_value_is_left_but_in_short_texts_that_are_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        assert plant(dataset) > 1000
        dataset.preamble = CANARY.encode().ljust(128, b"\0")
        dataset.file_meta.SourceApplicationEntityTitle = CANARY
        dataset.save_as(file)
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    named = {row["attribute"] for row in report.to_json()["attributes"] if row["action"] == "keep its text"}
    assert 50 < len(named) < 900
    assert any("Short texts were kept" in text and "SegmentLabel" in text for text in report.remarks)
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(written) == 5
    for file in written:
        content = file.read_bytes()
        assert not [secret for secret in SECRETS[1:] if secret in content], file.name
    kept = {e.keyword for e in pydicom.dcmread(written[0]).iterall() if e.VR in TEXT | {"UC"} and CANARY in str(e.value)}
    assert {keyword for keyword in kept if "Code" not in keyword} <= named
    actions = {(row["attribute"], row["action"]) for row in report.to_json()["attributes"]}
    assert {("StationName", "replace"), ("PatientBirthDate", "empty"), ("RequestAttributesSequence", "remove")} <= actions
    assert {("SOPInstanceUID", "replace UID"), ("(0009,1001)", "remove")} <= actions
    item = pydicom.dcmread(written[0]).SharedFunctionalGroupsSequence[0].ReferencedImageSequence[0]
    for keyword in ("ReferencedSOPInstanceUID", "SOPInstanceUIDOfConcatenationSource", "TargetFrameOfReferenceUID"):
        assert item[keyword].value == Pseudonyms(KEY).uid(PLANTED["UI"])
    for keyword in ("PatientBirthDateInAlternativeCalendar", "RetrieveURL", "IssuerOfPatientIDQualifiersSequence", "DeviceID"):
        assert keyword not in item


def test_an_attribute_that_cannot_be_read_leaves_the_file_out(folder: Path, tmp_path: Path) -> None:
    """A PACS that rewrites implicit VR may store a long sequence as UN, which pydicom does not look into."""
    file = next(folder.iterdir())
    dataset = pydicom.dcmread(file)
    dataset.add_new(0x52009230, "UN", CANARY.encode() * 9000)
    dataset.save_as(file)
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    assert report.left_out == {"holds a standard attribute whose representation is unknown (UN)": 1}


def test_patients_without_a_number_or_with_the_number_of_another_hospital_stay_apart(folder: Path, tmp_path: Path) -> None:
    def change(index: int, dataset: pydicom.Dataset) -> None:
        dataset.PatientID, dataset.PatientName = ("1", "A") if index < 3 else ("", "")
        dataset.IssuerOfPatientID = ("H1", "H1", "H2", "", "")[index]
        if index > 2:
            dataset.StudyInstanceUID = f"1.2.3.{index}"

    edit(folder, change)
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    assert sorted(report.files.values()) == [1, 1, 1, 2]
    assert "2 files have neither PatientID nor PatientName: each study counts as a patient of its own." in report.remarks


def test_the_copies_are_the_same_images_and_their_results_still_refer_to_them(folder: Path, tmp_path: Path) -> None:
    edit(folder, lambda _, dataset: [setattr(dataset, keyword, value) for keyword, value in HEADER.items()])
    expected = read_series(folder).volume
    (tmp_path / "both").mkdir()
    write_all(folder, tmp_path / "both" / "results")
    for file in folder.iterdir():
        file.rename(tmp_path / "both" / f"Lastname_{file.name}")
    report = deidentify_folder(tmp_path / "both", tmp_path / "out", KEY)
    assert len(report.left_out) == 2
    assert all("SR" in reason or "Secondary Capture" in reason for reason in report.left_out)
    assert not [path for path in (tmp_path / "out").rglob("*") if "Lastname" in path.name]
    images = [f for f in (tmp_path / "out").rglob("*.dcm") if pydicom.dcmread(f).Modality == "MR"]
    copy = read_series(images[0].parent)
    np.testing.assert_array_equal(copy.volume.array, expected.array)
    np.testing.assert_allclose(copy.volume.affine, expected.affine, atol=1e-6)
    (seg,) = [f for f in (tmp_path / "out").rglob("*.dcm") if pydicom.dcmread(f).Modality == "SEG"]
    of_images = {str(dataset.SOPInstanceUID) for dataset in copy.datasets}
    referenced = {
        str(i.ReferencedSOPInstanceUID) for i in pydicom.dcmread(seg).ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == of_images
    assert read_seg(seg).shape == expected.shape
    header = copy.datasets[0]
    assert header.PatientID == header.PatientName == Pseudonyms(KEY).patient(CANARY, HEADER["IssuerOfPatientID"])
    assert (header.PatientIdentityRemoved, header.DeidentificationMethodCodeSequence[0].CodeValue) == ("YES", "113100")
    for file in (seg, images[0]):
        assert dciodvfy(file) == []


JPEG_COMMENT = b"\xff\xfe" + (2 + len(CANARY)).to_bytes(2, "big") + CANARY.encode()
J2K_COMMENT = b"\xff\x64" + (4 + len(CANARY)).to_bytes(2, "big") + b"\0\1" + CANARY.encode()


@pytest.mark.parametrize("after_the_end", [b"", CANARY.encode()])
@ENCODERS
def test_text_beside_the_picture_in_compressed_pixels_is_removed(
    folder: Path, tmp_path: Path, syntax: UID, encode: Callable[[np.ndarray], bytes], after_the_end: bytes
) -> None:
    plain = read_series(folder).volume
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        frame = encode(dataset.pixel_array)
        at, comment = 2, JPEG_COMMENT
        if not frame.startswith(b"\xff\xd8"):
            siz = frame.index(b"\xff\x51")
            at, comment = siz + 2 + int.from_bytes(frame[siz + 2 : siz + 4], "big"), J2K_COMMENT
        frame = frame[:at] + comment + frame[at:]
        dataset.PixelData = encapsulate([frame + after_the_end])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file, enforce_file_format=True)
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    copies = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(copies) == 5
    assert not any(CANARY.encode() in file.read_bytes() for file in copies)
    np.testing.assert_array_equal(read_series(copies[0].parent).volume.array, plain.array)
    assert "5 files had text or headers of programs within their compressed pixels; they were removed." in report.remarks


@pytest.mark.parametrize("cut", [3, 20, -2])
def test_compressed_pixels_that_cannot_be_searched_are_left_out(folder: Path, tmp_path: Path, cut: int) -> None:
    file = next(folder.iterdir())
    dataset = pydicom.dcmread(file)
    dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(dataset.pixel_array)[:cut]])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.save_as(file, enforce_file_format=True)
    report = deidentify_folder(folder, tmp_path / "out", KEY)
    assert report.left_out["compressed pixels that cannot be searched for text"] == 1


def test_with_the_same_key_a_patient_has_the_same_pseudonym_in_a_later_run(folder: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    for name in ("one", "two"):
        assert run(["data", "deidentify", str(folder), str(tmp_path / name), "--key", str(key_file)]) == 0
    assert run(["data", "deidentify", str(folder), str(tmp_path / "other")]) == 0
    uids = [read_series(next((tmp_path / name).glob("P*/*"))).uid for name in ("one", "two", "other")]
    assert uids[0] == uids[1] != uids[2]
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert key_file.read_text() not in (tmp_path / "one" / REPORT).read_text()
    key_file.write_text("short")
    with pytest.raises(InputError, match="is no key: one has 64 hexadecimal digits"):
        read_key(key_file)


def test_what_cannot_be_cleaned_is_left_out_and_counted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(folder.iterdir())
    (folder / "Lastname.txt").write_text("a letter about the patient")
    files[0].write_bytes(files[0].read_bytes()[:400])
    burned = pydicom.dcmread(files[1])
    burned.BurnedInAnnotation = "YES"
    burned.save_as(files[1])
    screen = pydicom.dcmread(files[2])
    screen.SOPClassUID = screen.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    screen.save_as(files[2])
    odd = pydicom.dcmread(files[3])
    for name, attributes in {
        "no_series": {"SeriesInstanceUID": ""},
        "screen": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        "photograph": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"},
    }.items():
        other = pydicom.dcmread(files[3])
        for keyword, value in attributes.items():
            setattr(other, keyword, value)
        other.save_as(folder / f"{name}.dcm")
    odd.add_new(0x60000102, "US", 12)
    odd.save_as(folder / "overlay.dcm")
    assert run(["data", "deidentify", str(folder), str(tmp_path / "out"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["left_out"] == {
        "BurnedInAnnotation is YES": 1,
        "Secondary Capture Image Storage": 1,
        "VL Photographic Image Storage": 1,
        "no DICOM file, or a damaged one": 3,
        "overlay within the pixels": 1,
        "picture of a screen or of paper": 1,
    }
    assert list(answer["patients"].values()) == [2]
    assert answer == json.loads((tmp_path / "out" / REPORT).read_text())
    assert run(["data", "deidentify", str(folder), str(tmp_path / "out")]) == 1, "an existing folder is not written to"
    for file in files[3:]:
        file.unlink()
    capsys.readouterr()
    assert run(["data", "deidentify", str(folder), str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert "has no image that can be de-identified. Left out: 1 x BurnedInAnnotation is YES" in error
    assert "Lastname" not in error.replace(str(folder), "")
    assert not (tmp_path / "none").exists()
    assert run(["data", "deidentify", str(tmp_path / "nowhere"), str(tmp_path / "none")]) == 1
    assert f"This is no folder: {tmp_path / 'nowhere'}. Choose the folder" in capsys.readouterr().err


def is_same_picture(original: pydicom.Dataset, copy: pydicom.Dataset) -> bool:
    """Return whether both decode to the same pixels: encoders of JPEG 2000 leave a comment, which is removed."""
    same_kind = original.file_meta.TransferSyntaxUID == copy.file_meta.TransferSyntaxUID
    return same_kind and copy.file_meta.TransferSyntaxUID.is_compressed and bool((original.pixel_array == copy.pixel_array).all())


@pytest.mark.parametrize("name", ["lidc_idri_0314_ct_48.zip", "vs_seg_001_mr_t1gd_44.zip", "pydicom_enhanced_and_seg.zip"])
def test_real_series_keep_their_voxels(name: str, shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / name) as archive:
        archive.extractall(tmp_path / "in")
    report = deidentify_folder(tmp_path / "in", tmp_path / "out", KEY)
    assert report.files
    originals: dict[str, list[pydicom.Dataset]] = {}
    for file in (tmp_path / "in").rglob("*"):
        if file.is_file() and pydicom.misc.is_dicom(file):
            dataset = pydicom.dcmread(file)
            originals.setdefault(Pseudonyms(KEY).uid(str(dataset.get("SOPInstanceUID", ""))), []).append(dataset)
    for file in (tmp_path / "out").rglob("*.dcm"):
        copy = pydicom.dcmread(file)
        same = [o for o in originals[str(copy.SOPInstanceUID)] if o.PixelData == copy.PixelData or is_same_picture(o, copy)]
        assert same, "one of these variants of an image"
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "Rows"):
            assert copy.get(keyword) == same[0].get(keyword)
        same[0].save_as(tmp_path / "original.dcm", enforce_file_format=False)
        assert set(dciodvfy(file)) <= set(dciodvfy(tmp_path / "original.dcm")), "no new error"
