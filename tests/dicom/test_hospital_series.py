"""What hospitals' archives hold: rounded positions, other alphabets, odd values, foreign files. Refused with a reason, or right."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, VLMicroscopicImageStorage

from dicom.test_seg import MODEL, dciodvfy
from dicom.test_series import ORIENTATIONS, edit, volume_of
from minivess.dicom import read_series, write_seg, write_series
from minivess.dicom.series import Series
from minivess.dicom.series_files import group_series
from minivess.errors import GeometryError, InputError, MinivessError, OutputError, UnsafeFileError


@pytest.fixture(params=["axial", "oblique", "sagittal"])
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS[request.param]), tmp_path / "series", name=request.param)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "series", name="axial")


def segment(series: Series, path: Path, share: float = 0.1, threshold: float = 0.5) -> pydicom.Dataset:
    mask = series.volume.array > np.quantile(series.volume.array, 1 - share)
    return pydicom.dcmread(write_seg(series.volume.with_array(mask.astype(np.uint8)), series, MODEL, path, threshold=threshold))


def assert_shown(seg: pydicom.Dataset, series: Series, share: float = 0.1) -> None:
    """A viewer finds each frame by its source reference, and by its position: both must be those of the image."""
    mask = series.volume.array > np.quantile(series.volume.array, 1 - share)
    images = {str(d.SOPInstanceUID): (d, mask[:, :, z].T) for z, d in enumerate(series.in_volume_order())}
    shown = 0
    frames = seg.pixel_array if seg.pixel_array.ndim == 3 else seg.pixel_array[None]
    for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        image, expected = images[str(item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        assert np.array_equal(frame, expected)
        position = item.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose([float(v) for v in position], [float(v) for v in image.ImagePositionPatient], atol=1e-6)
        shown += int(frame.sum())
    assert shown == int(mask.sum())


def rounded(decimals: int) -> Callable[[int, pydicom.Dataset], object]:
    return lambda _, d: setattr(d, "ImagePositionPatient", [f"{float(v):.{decimals}f}" for v in d.ImagePositionPatient])


@pytest.mark.requirement("R04")
@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_frames_lie_at_their_images_however_the_positions_are_rounded(tmp_path: Path, decimals: int) -> None:
    volume = volume_of(np.diag([-0.5, -0.5, 0.625 if decimals > 1 else 6.25]))
    folder = write_series(volume, tmp_path / "s", name="rounded")
    edit(folder, rounded(decimals))
    series = read_series(folder)
    seg = segment(series, tmp_path / "seg.dcm")
    assert_shown(seg, series)
    assert dciodvfy(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize("stated", ["9", "-2.5", "0", None])
def test_the_spacing_is_what_the_positions_say(each: Path, tmp_path: Path, stated: str | None) -> None:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.SpacingBetweenSlices = dataset.SliceThickness = stated

    edit(each, change)
    series = read_series(each)
    seg = segment(series, tmp_path / "seg.dcm")
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(series.volume.spacing[2])
    assert float(measures.SliceThickness) > 0
    assert_shown(seg, series)
    assert dciodvfy(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Zhang^XiaoDong=张^小东"),
        ("ISO_IR 144", "Толстой^Лев"),
        ("ISO_IR 192", "Grün^Ægir"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO 2022 IR 100", "Buc^Jérôme"),
    ],
)
def test_a_name_in_any_alphabet_arrives_in_utf_8(series: Path, tmp_path: Path, charset: str | list[str], name: str) -> None:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = name

    edit(series, change)
    seg = segment(read_series(series), tmp_path / "seg.dcm")
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert str(seg.PatientName) == name
    assert dciodvfy(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize("charset", ["", None, "NONSENSE", "ISO_IR 6"])
def test_a_missing_or_misused_character_set_is_no_fault(series: Path, tmp_path: Path, charset: str | None) -> None:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.PatientName = "DOE^JANE"
        if charset is None:
            del dataset.SpecificCharacterSet
        else:
            dataset.SpecificCharacterSet = charset

    edit(series, lambda i, d: setattr(d, "SpecificCharacterSet", "ISO_IR 100"))
    edit(series, change)
    assert str(segment(read_series(series), tmp_path / "seg.dcm").PatientName) == "DOE^JANE"


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientBirthDate", "1951-02-03", "19510203"),
        ("PatientBirthDate", "1951", ""),
        ("PatientBirthDate", "unknown SECRET", ""),
        ("StudyTime", "10:11:12", "101112"),
        ("StudyTime", "late", ""),
        ("PatientSex", "female", "F"),
        ("PatientSex", "unclear", ""),
        ("AccessionNumber", "A" * 40, ""),  # a part of it may be another order's
        ("PatientID", "12\\34", ""),
        ("StudyDescription", "HEAD\\NECK", "HEAD NECK"),
        ("StudyDescription", "HEAD\x12\x1bNECK", "HEAD  NECK"),
        ("PatientID", "12\x0534", ""),
        ("PatientBirthDate", "19500230", ""),
        ("StudyDate", "20240101-20240102", ""),
    ],
)
def test_an_odd_value_is_repaired_or_left_empty_and_never_said(
    series: Path, tmp_path: Path, keyword: str, value: str, kept: str
) -> None:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        element = pydicom.DataElement(keyword, pydicom.datadict.dictionary_VR(keyword), value, validation_mode=0)
        dataset[keyword] = element

    edit(series, change)
    read = read_series(series)
    assert any(note.startswith(f"{keyword} of the source is") for note in read.notes)
    assert not any("SECRET" in note or value in note for note in read.notes)
    assert str(segment(read, tmp_path / "seg.dcm").get(keyword, "")) == kept
    assert dciodvfy(tmp_path / "seg.dcm") == []


def test_the_same_uid_is_the_same_content(series: Path, tmp_path: Path) -> None:
    def uids(share: float = 0.1, threshold: float = 0.5, folder: Path = series) -> tuple[str, str, str]:
        seg = segment(read_series(folder), tmp_path / "seg.dcm", share, threshold)
        organization = seg.DimensionOrganizationSequence[0].DimensionOrganizationUID
        return str(seg.SOPInstanceUID), str(seg.SeriesInstanceUID), str(organization)

    first = uids()
    assert uids() == first
    others = [uids(share=0.2), uids(threshold=0.4)]
    sorted(series.iterdir())[-1].unlink()
    others.append(uids())
    assert len({first[0], *(o[0] for o in others)}) == 4
    assert len({first[1], *(o[1] for o in others)}) == 4


def test_the_seg_says_that_it_is_research_in_a_colour_of_its_own(series: Path, tmp_path: Path) -> None:
    edit(series, lambda i, d: setattr(d, "BodyPartExamined", "HEAD"))
    seg = segment(read_series(series), tmp_path / "seg.dcm")
    assert "AI, research use only" in seg.SeriesDescription
    assert "research use only" in seg.ContentDescription
    assert seg.BodyPartExamined == "HEAD"
    assert len(seg.SegmentSequence[0].RecommendedDisplayCIELabValue) == 3
    assert len(seg.SeriesDate) == 8


def change_one(keyword: str, value: object) -> Callable[[int, pydicom.Dataset], object]:
    return lambda i, d: setattr(d, keyword, value) if i == 2 else None


def change_all(keyword: str, value: object) -> Callable[[int, pydicom.Dataset], object]:
    return lambda i, d: setattr(d, keyword, value)


@pytest.mark.requirement("R03")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_one("PatientID", "SECRET2"), "images of several patients: 2 values of PatientID"),
        (change_one("PatientName", "SECRET^OTHER"), "images of several patients: 2 values of PatientName"),
        (change_one("StudyInstanceUID", "1.2.3"), "images of several studies"),
        (change_all("SOPInstanceUID", "1.2.3"), "SOPInstanceUIDs are used by more than one"),
        (change_all("StudyInstanceUID", ""), "files have no StudyInstanceUID"),
        (change_one("SOPClassUID", ""), "1 of 7 files have no SOPClassUID"),
        (change_one("Modality", "CT"), "have 2 modalities"),
        (change_all("SeriesInstanceUID", ""), "has no SeriesInstanceUID"),
        (change_all("StudyInstanceUID", "1.02.3"), "no valid UID"),
        (change_one("SOPInstanceUID", "19010203"), "SOPInstanceUID is no valid UID in 1 of 7 files"),
        (change_all("FrameOfReferenceUID", "CT"), "FrameOfReferenceUID is no valid UID in 7 of 7 files"),
        (change_all("ImagesInAcquisition", 12), "states 12 ImagesInAcquisition, 7 are there"),
        (change_all("HighBit", 15), "HighBit is 15, BitsStored 12"),
        (change_all("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7"), "secondary captures"),
        (change_all("PhotometricInterpretation", "PALETTE COLOR"), "must be grey"),
        (change_one("PixelSpacing", ["1.0", "2.0"]), "PixelSpacing differs between slices"),
    ],
)
def test_what_is_no_single_series_of_one_patient_is_refused(
    series: Path, change: Callable[[int, pydicom.Dataset], object], message: str
) -> None:
    edit(series, lambda i, d: setattr(d, "BitsStored", 12))
    edit(series, lambda i, d: setattr(d, "HighBit", 11))
    read_series(series)
    edit(series, change)
    with pytest.raises((InputError, GeometryError), match=message) as refused:
        read_series(series)
    assert "SECRET" not in str(refused.value)


def test_images_of_a_microscope_are_no_secondary_captures(series: Path) -> None:
    edit(series, change_all("SOPClassUID", VLMicroscopicImageStorage))
    read_series(series)


def test_spacings_are_compared_as_numbers(series: Path) -> None:
    edit(series, lambda i, d: setattr(d, "PixelSpacing", ["0.9", "0.90"] if i % 2 else ["0.90", "0.9"]))
    edit(series, lambda i, d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 1, 1e-6 * (i % 2)]))
    assert read_series(series).volume.spacing[:2] == pytest.approx((0.9, 0.9))


def test_foreign_files_are_passed_by_and_counted(series: Path) -> None:
    whole = read_series(series)
    for name in ("dicomdir", ".DS_Store", "._0001.dcm", "LOCKFILE", "README", "notes.txt", "empty.txt"):
        (series / name).write_bytes(b"" if name == "empty.txt" else b"\0\1\2 no DICOM" * 20)
    again = read_series(series)
    assert np.array_equal(again.volume.array, whole.volume.array)
    assert any(note.startswith("6 files that are no images of a series") for note in again.notes)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_refused(series: Path) -> None:
    (series / "more").mkdir(mode=0)
    with pytest.raises(InputError, match="slices in it would be missing"):
        read_series(series)


def test_a_folder_that_fails_is_refused(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, where permissions do not count: the error comes from the system call."""

    def walk(top: Path, onerror: Callable[[OSError], object]) -> object:
        onerror(PermissionError(13, "Permission denied", str(top / "more")))
        return iter(())

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(InputError, match=r"The folder more cannot be read \(Permission denied\)"):
        read_series(series)


def test_a_file_that_inflates_without_end_is_refused(series: Path) -> None:
    file = sorted(series.iterdir())[0]
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file, enforce_file_format=True)
    content = file.read_bytes()
    start = 132 + 12 + int(pydicom.dcmread(file).file_meta.FileMetaInformationGroupLength)
    inflated = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = compressor.compress(inflated) + b"".join(compressor.compress(b"\0" * 2**20) for _ in range(300)) + compressor.flush()
    read_series(series)
    for stated in (content[140:144], (2**31).to_bytes(4, "little")):  # the length of the group, true and beyond the file
        file.write_bytes(content[:140] + stated + content[144:start] + bomb)
        assert file.stat().st_size < 2**20
        with pytest.raises(UnsafeFileError, match="inflates beyond 256 MB"):
            read_series(series)


@pytest.mark.parametrize("body_part", ["NECK", "neck", "шея", "HEAD\\NECK", "\xb5"])
def test_odd_body_parts_and_numbers_do_not_stop_the_result(series: Path, tmp_path: Path, body_part: str) -> None:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset["BodyPartExamined"] = pydicom.DataElement("BodyPartExamined", "LO", body_part, validation_mode=0)
        dataset.SeriesNumber = -2000

    edit(series, change)
    seg = segment(read_series(series), tmp_path / "seg.dcm")
    assert seg.get("BodyPartExamined", "") in ("NECK", "HEAD NECK", "")
    assert seg.SeriesNumber > 0
    assert dciodvfy(tmp_path / "seg.dcm") == []


def test_a_disk_that_fails_is_no_fault_of_the_series_and_named_by_its_file(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("minivess.dicom.series_files.check_deflated", fail)
    found = group_series(series)
    assert {type(error) for error in found.damaged.values()} == {OutputError}
    with pytest.raises(OutputError, match="cannot be read now: Input/output error"):
        read_series(series)


def test_a_link_without_its_target_is_a_missing_slice(series: Path) -> None:
    file = sorted(series.iterdir())[-1]
    file.unlink()
    file.symlink_to(series / "gone")
    with pytest.raises(InputError, match=f"{file.name} cannot be read as DICOM"):
        read_series(series)


@pytest.mark.parametrize("signed", [False, True])
def test_padding_is_no_tissue(series: Path, signed: bool) -> None:
    whole = read_series(series).volume.array
    padding = -2000 if signed else 60000

    def change(_: int, dataset: pydicom.Dataset) -> None:
        pixels = dataset.pixel_array.astype(np.int32)
        pixels[:, :4] = padding
        dataset.PixelRepresentation = int(signed)
        dataset["PixelPaddingValue"] = pydicom.DataElement("PixelPaddingValue", "SS" if signed else "US", padding)
        dataset.PixelData = pixels.astype(np.int16 if signed else np.uint16).tobytes()

    edit(series, change)
    read = read_series(series)
    assert np.array_equal(read.volume.array[4:], whole[4:])
    assert (read.volume.array[:4] == whole[4:].min()).all()
    assert any("voxels are padding" in note for note in read.notes)


def test_a_range_of_padding_may_end_at_zero(series: Path) -> None:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        pixels = dataset.pixel_array.astype(np.int16)
        pixels[:, :2], pixels[:, 2:4] = -2000, -5
        dataset.PixelRepresentation = 1
        for keyword, value in (("PixelPaddingValue", -2000), ("PixelPaddingRangeLimit", 0)):
            dataset[keyword] = pydicom.DataElement(keyword, "SS", value)
        dataset.PixelData = pixels.tobytes()

    edit(series, change)
    array = read_series(series).volume.array
    assert (array[:4] == array[4:].min()).all()


@pytest.mark.parametrize(
    "keyword",
    ["PhotometricInterpretation", "Modality", "SOPClassUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "ImageType"],
)
@pytest.mark.parametrize("only_one", [True, False])
def test_a_name_in_another_element_is_never_said(series: Path, keyword: str, only_one: bool) -> None:
    def change(index: int, dataset: pydicom.Dataset) -> None:
        if index == 2 or not only_one:
            dataset[keyword] = pydicom.DataElement(keyword, "LO", "Secret^Anna")

    edit(series, change)
    try:
        said = " ".join(read_series(series).notes)
    except MinivessError as error:
        said = str(error)
    assert "Secret" not in said
