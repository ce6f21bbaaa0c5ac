"""Derived objects hold what the standard asks of their sources: animals, trials, lossy compression, body parts; UIDs of their content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dicom.test_entities import write_all
from dicom.test_seg import MODEL, dciodvfy
from dicom.test_series import ORIENTATIONS, edit, volume_of
from minivess.dicom import read_series, write_seg, write_series
from minivess.dicom.derived import Derivation
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.errors import InputError

TRIAL = {
    "ClinicalTrialSponsorName": "Sponsor", "ClinicalTrialProtocolID": "P-1", "ClinicalTrialProtocolName": "Protocol",
    "ClinicalTrialSiteID": "7", "ClinicalTrialSiteName": "Site", "ClinicalTrialSubjectID": "S-12",
}  # fmt: skip
ANIMAL = {
    "PatientSpeciesDescription": "Mus musculus", "PatientBreedDescription": "C57BL/6", "PatientSexNeutered": "UNALTERED",
    "ResponsiblePerson": "Lab^Head", "ResponsiblePersonRole": "INVESTIGATOR", "ResponsibleOrganization": "Institute",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS["axial"], (24, 16, 5)), tmp_path / "series", name="x")


def derived(folder: Path, tmp_path: Path, change: Callable[[pydicom.Dataset], object]) -> dict[str, pydicom.Dataset]:
    """Change the images, and return the objects that are derived from them, each of which is valid, by the names of their files."""
    edit(folder, lambda _, dataset: change(dataset))
    write_all(folder, tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert {file.name: dciodvfy(file) for file in files} == {file.name: [] for file in files}
    return {file.name: pydicom.dcmread(file) for file in files}


@pytest.mark.parametrize("about", [TRIAL, ANIMAL], ids=["trial", "animal"])
def test_the_modules_of_trials_and_animals_are_whole(folder: Path, tmp_path: Path, about: dict[str, str]) -> None:
    objects = derived(folder, tmp_path, lambda d: [setattr(d, keyword, value) for keyword, value in about.items()])
    for dataset in objects.values():
        assert {keyword: str(dataset.get(keyword)) for keyword in about} == about


def test_a_species_alone_brings_what_must_be_there_and_half_a_trial_is_left_out(folder: Path, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.PatientSpeciesDescription, dataset.ClinicalTrialSubjectID = "Rattus", "S-12"

    for dataset in derived(folder, tmp_path, change).values():
        assert dataset.ResponsiblePerson == ""
        assert list(dataset.PatientBreedCodeSequence) == []
        assert "ClinicalTrialSubjectID" not in dataset


def test_several_methods_of_deidentification_stay_several(folder: Path, tmp_path: Path) -> None:
    methods = ["Basic profile of PS3.15", "Retain dates " + "x" * 70]
    for dataset in derived(folder, tmp_path, lambda d: setattr(d, "DeidentificationMethod", methods)).values():
        assert list(dataset.DeidentificationMethod) == [methods[0], methods[1][:64]]


def test_a_species_by_code_a_person_without_a_role_and_a_long_number_are_valid(folder: Path, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientSpeciesCodeSequence = [code("447612001", "SCT", "Mus musculus")]
        dataset.PatientBreedCodeSequence = [code("1", "99LAB", "Säugetier Müller")]
        dataset.ResponsiblePerson = "Lab^Head"
        for keyword, value in TRIAL.items():
            setattr(dataset, keyword, value)
        dataset.ClinicalTrialSubjectID = "S" * 70

    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        objects = derived(folder, tmp_path, change)
    for dataset in objects.values():
        assert "PatientSpeciesDescription" not in dataset
        assert dataset.PatientBreedCodeSequence[0].CodeMeaning == "Säugetier Müller"
        assert dataset.ResponsiblePerson == ""
        assert "ClinicalTrialProtocolID" not in dataset


def code(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.mark.parametrize("body_part", ["HEAD", "CHEST", "BRAIN", "LEG", "KNEE", ""])
def test_pictures_of_any_body_part_are_valid(folder: Path, tmp_path: Path, body_part: str) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.BodyPartExamined = body_part
        if body_part == "LEG":
            dataset.Laterality = "L"

    pictures = [d for name, d in derived(folder, tmp_path, change).items() if name.startswith("picture")]
    assert {p.ConversionType for p in pictures} == {"WSD"}
    assert {p.get("Laterality") for p in pictures} == {{"LEG": "L", "KNEE": "", "": ""}.get(body_part)}  # None: it is not there


def test_what_comes_from_a_lossy_image_says_so(folder: Path, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset) -> None:
        frame = imagecodecs.jpeg_encode((dataset.pixel_array >> 4).astype(np.uint8), level=95)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", "8.5"

    for name, dataset in derived(folder, tmp_path, change).items():
        if name == "sr.dcm":
            continue
        assert (dataset.LossyImageCompression, dataset.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
        assert float(dataset.LossyImageCompressionRatio) == 8.5


def test_other_values_have_another_uid_and_the_same_ones_the_same(folder: Path, tmp_path: Path) -> None:
    series = read_series(folder)
    values = np.random.default_rng(0).random(series.volume.shape).astype(np.float32)
    mask, other = series.volume.with_array((values > 0.5).astype(np.uint8)), np.nextafter(values, np.float32(2))
    derivation = Derivation.of(mask.array, series, MODEL, 0.5)

    def uids(array: np.ndarray) -> tuple[str, str]:
        volume = series.volume.with_array(array)
        written = [
            write_uncertainty_map(volume, derivation, tmp_path / "map.dcm"),
            write_seg(mask, series, MODEL, tmp_path / "seg.dcm", threshold=0.5, kind="FRACTIONAL", probability=volume),
        ]
        first, second = (str(pydicom.dcmread(file).SOPInstanceUID) for file in written)
        return first, second

    assert uids(values) == uids(values)
    assert set(uids(values)).isdisjoint(uids(other))


def test_the_device_is_the_same_for_every_series_and_a_mean_is_called_one(folder: Path, tmp_path: Path) -> None:
    write_all(folder, tmp_path / "a")
    other = write_series(volume_of(ORIENTATIONS["oblique"], (24, 16, 5)), tmp_path / "other", name="y")
    write_all(other, tmp_path / "b")
    reports = [hd.sr.srread(tmp_path / name / "sr.dcm") for name in ("a", "b")]
    devices = {str(report.content.get_observer_contexts()[0].observer_identifying_attributes.uid) for report in reports}
    assert len(devices) == 1
    (group,) = reports[0].content.get_volumetric_roi_measurement_groups()
    assert {m.name.meaning: m.derivation.meaning for m in group.get_measurements() if m.derivation} == {"Diameter": "Mean"}


def test_hounsfield_units_are_not_inverted_for_display(tmp_path: Path) -> None:
    volume = volume_of(ORIENTATIONS["axial"], (24, 16, 5))
    folder = write_series(volume, tmp_path / "series", name="x")
    plain = read_series(folder).volume.array

    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", "CT"
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"

    edit(folder, change)
    np.testing.assert_array_equal(read_series(folder).volume.array, plain - 1024)


def test_a_study_with_its_own_results_is_still_one_series(folder: Path, tmp_path: Path) -> None:
    before = read_series(folder).volume.array
    write_all(folder, tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        file.rename(folder / f"result_{file.name}")
    series = read_series(folder)
    np.testing.assert_array_equal(series.volume.array, before)
    assert series.notes == ("5 files that are no images of a series were ignored",)  # the pictures


def secondary(folder: Path, name: str, kind: str, series: str) -> None:
    dataset = pydicom.dcmread(next(folder.glob("*.dcm")))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series}.9"
    dataset.SeriesInstanceUID = series
    dataset.save_as(folder / name, enforce_file_format=True)


def test_a_picture_within_a_series_or_another_kind_of_image_is_not_passed_by_in_silence(folder: Path) -> None:
    secondary(folder, "other.dcm", "1.2.840.10008.5.1.4.1.1.77.1.5.4", "1.2.3.77")
    with pytest.raises(InputError, match="2 image series"):
        read_series(folder)
    (folder / "other.dcm").unlink()
    secondary(folder, "picture.dcm", "1.2.840.10008.5.1.4.1.1.7", "1.2.3.7")
    assert read_series(folder).notes == ("1 files that are no images of a series were ignored",)
    uid = str(read_series(folder).uid)
    secondary(folder, "picture.dcm", "1.2.840.10008.5.1.4.1.1.7", uid)
    with pytest.raises(InputError):
        read_series(folder)
