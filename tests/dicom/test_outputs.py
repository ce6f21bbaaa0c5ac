"""Parametric map and measurement report beside the SEG: valid, on the images, with the numbers that were measured."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from dicom.test_seg import MODEL, dciodvfy
from dicom.test_series import ORIENTATIONS, edit, volume_of
from minivess.dicom import read_series, write_seg, write_series
from minivess.dicom.derived import Derivation
from minivess.dicom.measurements import write_measurements
from minivess.dicom.secondary_capture import write_pictures
from minivess.dicom.series import Series
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.metrics.morphology import Morphology, measure_vessels


@pytest.fixture(params=["axial", "oblique", "sagittal"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> Series:
    return read_series(write_series(volume_of(ORIENTATIONS[request.param]), tmp_path / "series", name=request.param))


def test_an_uncertainty_map_lies_on_the_images_with_its_values(series: Series, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, np.log(2), series.volume.shape).astype(np.float32)
    derivation = Derivation.of(values > 0.5, series, MODEL, 0.5)
    path = write_uncertainty_map(series.volume.with_array(values), derivation, tmp_path / "map.dcm")
    assert dciodvfy(path) == []
    dataset = pydicom.dcmread(path)
    order = [str(d.SOPInstanceUID) for d in series.in_volume_order()]
    frames = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(-1, dataset.Rows, dataset.Columns)
    for frame, item in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.array_equal(frame, values[:, :, order.index(str(source))].T)
    assert "research use only" in dataset.SeriesDescription


def test_a_report_holds_the_measurements_and_refers_to_the_seg(series: Series, tmp_path: Path) -> None:
    mask = np.zeros(series.volume.shape, np.uint8)
    mask[4:7, 2:10, 3] = 1
    derivation = Derivation.of(mask, series, MODEL, 0.5)
    seg = write_seg(series.volume.with_array(mask), series, MODEL, tmp_path / "seg.dcm", threshold=0.5)
    measured = measure_vessels(mask, series.volume.spacing_um)
    path = write_measurements(measured, seg, derivation, tmp_path / "sr.dcm")
    assert dciodvfy(path) == []
    report = hd.sr.srread(path)
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert group.reference_type == hd.sr.CodedConcept("121191", "DCM", "Referenced Segment")
    values = {m.name.meaning: m.value for m in group.get_measurements()}
    assert values["Volume"] == pytest.approx(measured.volume_mm3, rel=1e-6)
    assert values["Length"] == pytest.approx(measured.length_mm, rel=1e-6)
    assert values["Number of branch points"] == measured.branch_points
    assert str(pydicom.dcmread(seg).SOPInstanceUID) in str(pydicom.dcmread(path))
    assert "For research use only" in str(pydicom.dcmread(path))


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_pictures_show_the_outline_on_each_image_for_a_pacs_without_segmentations(tmp_path: Path, name: str) -> None:
    series = read_series(write_series(volume_of(ORIENTATIONS[name], (180, 60, 4)), tmp_path / "series", name="x"))
    mask = np.zeros(series.volume.shape, np.uint8)
    mask[60:120, 30:50, 3] = 1
    derivation = Derivation.of(mask, series, MODEL, 0.5)
    files = write_pictures(series.volume.with_array(mask), derivation, tmp_path)
    pictures = [pydicom.dcmread(file) for file in files]
    assert [error for file in files for error in dciodvfy(file)] == []
    assert len({p.SeriesInstanceUID for p in pictures}) == 1
    assert len({p.SOPInstanceUID for p in pictures}) == len(pictures) == mask.shape[2]
    sources = [str(d.SOPInstanceUID) for d in series.in_volume_order()]
    assert [p.SourceImageSequence[0].ReferencedSOPInstanceUID for p in pictures] == sources
    assert all("research use only" in p.SeriesDescription for p in pictures)
    red = [(p.pixel_array == (255, 70, 50)).all(axis=2) for p in pictures]
    edge = mask[..., 3].T > 0
    edge[31:49, 61:119] = False
    assert np.array_equal(red[3], edge)
    assert not any(pixels.any() for z, pixels in enumerate(red) if z != 3)


def test_pictures_are_the_same_for_the_same_content(series: Series, tmp_path: Path) -> None:
    mask = np.zeros(series.volume.shape, np.uint8)
    uids = []
    for threshold, name in ((0.5, "a"), (0.5, "b"), (0.4, "c")):
        (tmp_path / name).mkdir()
        derivation = Derivation.of(mask, series, MODEL, threshold)
        files = write_pictures(series.volume.with_array(mask), derivation, tmp_path / name)
        uids.append([str(pydicom.dcmread(file).SOPInstanceUID) for file in files])
    assert uids[0] == uids[1]
    assert set(uids[0]).isdisjoint(uids[2])


def test_reports_of_different_segs_have_different_uids(series: Series, tmp_path: Path) -> None:
    mask = series.volume.with_array(np.ones(series.volume.shape, np.uint8))
    derivation = Derivation.of(mask.array, series, MODEL, 0.5)
    morphology = measure_vessels(mask.array > 0, mask.spacing_um)
    uids = set()
    for kind in ("BINARY", "LABELMAP", "BINARY"):
        seg = write_seg(mask, series, MODEL, tmp_path / "seg.dcm", threshold=0.5, kind=kind)
        report = write_measurements(morphology, seg, derivation, tmp_path / "sr.dcm")
        uids.add(pydicom.dcmread(report).SOPInstanceUID)
    assert len(uids) == 2


def test_all_objects_of_one_result_have_uids_of_their_content(series: Series, tmp_path: Path) -> None:
    mask = np.zeros(series.volume.shape, np.uint8)
    first, again, other = (Derivation.of(mask, series, MODEL, t) for t in (0.5, 0.5, 0.4))
    assert first.uid("x") == again.uid("x") != other.uid("x")
    assert len({first.uid(f"{what} series") for what in ("segmentation", "uncertainty", "measurements")}) == 3


def test_measure_vessels__by_hand() -> None:
    mask = np.zeros((11, 11, 40), np.uint8)
    mask[4:7, 4:7, 5:35] = 1
    found = measure_vessels(mask, (500.0, 500.0, 1000.0))
    assert found.volume_mm3 == pytest.approx(3 * 3 * 30 * 0.25)
    assert found.length_mm == pytest.approx(29, abs=2)
    assert found.mean_diameter_mm == pytest.approx(2.0, abs=0.6)
    assert (found.branch_points, found.components) == (0, 1)
    mask[7:11, 5, 20] = 1
    branched = measure_vessels(mask, (500.0, 500.0, 1000.0))
    assert branched.branch_points == 1
    assert measure_vessels(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0)) == Morphology(0.0, 0.0, 0.0, 0, 0)


@pytest.mark.parametrize("modality", ["MR", "", None])
@pytest.mark.parametrize("indicator", ["", "a\\b\\c", "x" * 70, None])
def test_what_one_image_states_wrongly_does_not_stop_the_result(
    tmp_path: Path, modality: str | None, indicator: str | None
) -> None:
    def change(index: int, dataset: pydicom.Dataset) -> None:
        for keyword, value in (("Modality", modality if index == 2 else "MR"), ("PositionReferenceIndicator", indicator)):
            dataset.pop(keyword, None)
            if value is not None:
                vr = pydicom.datadict.dictionary_VR(keyword)
                dataset[keyword] = pydicom.DataElement(keyword, vr, value, validation_mode=0)

    folder = write_series(volume_of(ORIENTATIONS["oblique"]), tmp_path / "series", name="oblique")
    edit(folder, change)
    assert write_all(read_series(folder), tmp_path) == []


@pytest.mark.parametrize("thickness", ["1e400", "inf", "nan", "-1", "thick"])
def test_a_slice_thickness_that_is_none_is_the_distance_of_the_slices(tmp_path: Path, thickness: str) -> None:
    folder = write_series(volume_of(ORIENTATIONS["oblique"]), tmp_path / "series", name="oblique")
    edit(folder, lambda _, d: d.__setitem__("SliceThickness", pydicom.DataElement("SliceThickness", "LO", thickness)))
    assert write_all(read_series(folder), tmp_path) == []


@pytest.mark.parametrize("kind", ["1", "2", "6.1", "128"])
def test_images_of_another_kind_than_the_usual_ones(tmp_path: Path, kind: str) -> None:
    folder = write_series(volume_of(ORIENTATIONS["oblique"]), tmp_path / "series", name="oblique")
    edit(folder, lambda _, dataset: setattr(dataset, "SOPClassUID", f"1.2.840.10008.5.1.4.1.1.{kind}"))
    assert write_all(read_series(folder), tmp_path) == []


def write_all(series: Series, folder: Path) -> list[str]:
    """Write every object that is derived from a series; return what the validator finds in them."""
    mask = series.volume.with_array((series.volume.array > np.median(series.volume.array)).astype(np.uint8))
    derivation = Derivation.of(mask.array, series, MODEL, 0.5)
    seg = write_seg(mask, series, MODEL, folder / "seg.dcm", threshold=0.5)
    uncertainty = series.volume.with_array(np.full(series.volume.shape, 0.1, np.float32))
    measured = measure_vessels(mask.array, series.volume.spacing_um)
    files = [
        seg,
        write_uncertainty_map(uncertainty, derivation, folder / "map.dcm"),
        write_measurements(measured, seg, derivation, folder / "sr.dcm"),
        *write_pictures(mask, derivation, folder),
    ]
    return [f"{file.name}: {line}" for file in files for line in dciodvfy(file)]


def test_an_element_of_another_kind_than_the_standard_says_is_left_empty(tmp_path: Path) -> None:
    item = pydicom.Dataset()
    item.CodeValue = "SECRET"
    folder = write_series(volume_of(ORIENTATIONS["oblique"]), tmp_path / "series", name="oblique")

    def change(_: int, dataset: pydicom.Dataset) -> None:
        for keyword in ("PositionReferenceIndicator", "StudyDescription", "PatientSex"):
            dataset[keyword] = pydicom.DataElement(keyword, "SQ", pydicom.Sequence([item]))

    edit(folder, change)
    assert write_all(read_series(folder), tmp_path) == []
    assert "SECRET" not in str(pydicom.dcmread(tmp_path / "seg.dcm"))
