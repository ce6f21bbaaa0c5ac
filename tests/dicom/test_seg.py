from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
import pytest
from geometries import resample_like

from dicom.test_series import ORIENTATIONS, edit, volume_of
from minivess.dicom import read_seg, read_series, write_seg, write_series
from minivess.errors import GeometryError, InputError
from minivess.models import ModelRef
from minivess.volume import Volume

MODEL = ModelRef("segresnet_vessel", "0.1.0", "ab" * 32)


def dciodvfy(path: Path) -> list[str]:
    """Errors of the DICOM validator."""
    program = Path(sys.executable).with_name("dciodvfy")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def random_mask(volume: Volume, share: float = 0.1) -> Volume:
    return volume.with_array((np.random.default_rng(1).random(volume.shape) < share).astype(np.uint8))


@pytest.mark.requirement("R04")
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_mask_to_seg_to_mask_is_exact_in_patient_space(tmp_path: Path, name: str) -> None:
    volume = volume_of(ORIENTATIONS[name])
    mask = random_mask(volume)
    series = read_series(write_series(volume, tmp_path / "s", name=name))
    path = write_seg(resample_like(mask, series.volume), series, MODEL, tmp_path / "seg.dcm")
    back = read_seg(path)
    assert np.array_equal(resample_like(back, mask).array, mask.array)
    assert int(back.array.sum()) == int(mask.array.sum())
    assert dciodvfy(path) == []


@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_other_kinds_of_seg_hold_the_same(tmp_path: Path, kind: Literal["LABELMAP", "FRACTIONAL"]) -> None:
    series = read_series(write_series(volume_of(ORIENTATIONS["oblique"]), tmp_path / "s", name="x"))
    probability = series.volume.with_array(np.random.default_rng(0).random(series.volume.shape).astype(np.float32))
    mask = probability.with_array((probability.array > 0.8).astype(np.uint8))
    with pytest.raises(InputError, match="probability") if kind == "FRACTIONAL" else nullcontext():
        write_seg(mask, series, MODEL, tmp_path / "seg.dcm", threshold=0.8, kind=kind)
    path = write_seg(mask, series, MODEL, tmp_path / "seg.dcm", threshold=0.8, kind=kind, probability=probability)
    binary = write_seg(mask, series, MODEL, tmp_path / "binary.dcm", threshold=0.8)
    assert dciodvfy(path) == []
    assert pydicom.dcmread(path).SOPInstanceUID != pydicom.dcmread(binary).SOPInstanceUID
    if kind == "LABELMAP":
        assert np.array_equal(read_seg(path).array, read_seg(binary).array)
        return
    with pytest.raises(InputError, match="FRACTIONAL"):
        read_seg(path)
    seg = pydicom.dcmread(path)
    order = [str(d.SOPInstanceUID) for d in series.in_volume_order()]
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(frame / 255, probability.array[..., order.index(str(source))].T, atol=0.5 / 255 + 1e-6)


def test_empty_slices_in_the_middle_and_at_the_ends_come_back_empty(tmp_path: Path) -> None:
    volume = volume_of(ORIENTATIONS["axial"])
    array = np.zeros(volume.shape, np.uint8)
    array[3:6, 2:4, 2] = array[3:6, 2:4, 5] = 1
    series = read_series(write_series(volume, tmp_path / "s", name="x"))
    mask = resample_like(volume.with_array(array), series.volume)
    back = read_seg(write_seg(mask, series, MODEL, tmp_path / "seg.dcm"))
    assert np.array_equal(resample_like(back, volume).array, array)


def test_an_empty_mask_is_a_valid_seg_that_says_so(tmp_path: Path) -> None:
    series = read_series(write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "s", name="x"))
    path = write_seg(random_mask(series.volume, 0.0), series, MODEL, tmp_path / "seg.dcm")
    assert pydicom.dcmread(path).SeriesDescription == "Vessels: no finding (AI, research use only)"
    assert not read_seg(path).array.any()
    assert dciodvfy(path) == []


@pytest.mark.requirement("R05")
def test_the_seg_says_what_made_it_and_from_what(tmp_path: Path) -> None:
    series = read_series(write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "s", name="x", patient_id="P7"))
    seg = pydicom.dcmread(write_seg(random_mask(series.volume), series, MODEL, tmp_path / "seg.dcm"))
    segment = seg.SegmentSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "59820001"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("segresnet_vessel", "0.1.0 (abababababab)")
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert seg.PatientID == "P7"
    assert seg.StudyInstanceUID == series.datasets[0].StudyInstanceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series.uid
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 7
    assert seg.Manufacturer == "MinIVess"


@pytest.mark.requirement("R22")
def test_the_same_case_gives_the_same_uids_and_other_weights_others(tmp_path: Path) -> None:
    series = read_series(write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "s", name="x"))
    mask = random_mask(series.volume)
    other = ModelRef("segresnet_vessel", "0.1.0", "cd" * 32)
    uids = []
    for index, model in enumerate((MODEL, MODEL, other)):
        seg = pydicom.dcmread(write_seg(mask, series, model, tmp_path / f"{index}.dcm"))
        uids.append((seg.SOPInstanceUID, seg.SeriesInstanceUID))
    assert uids[0] == uids[1]
    assert set(uids[0]).isdisjoint(uids[2])


def test_a_source_without_patient_attributes_is_completed_not_refused(tmp_path: Path) -> None:
    folder = write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "s", name="x")

    def strip(_: int, dataset: pydicom.Dataset) -> None:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            del dataset[keyword]

    edit(folder, strip)
    series = read_series(folder)
    assert dciodvfy(write_seg(random_mask(series.volume), series, MODEL, tmp_path / "seg.dcm")) == []
    assert "PatientName" not in series.datasets[0]


def test_a_name_in_any_script_survives(tmp_path: Path) -> None:
    folder = write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "s", name="x")
    name = "Ковальчук^Ірина=王^小東"
    edit(folder, lambda _, d: setattr(d, "PatientName", name))
    series = read_series(folder)
    seg = pydicom.dcmread(write_seg(random_mask(series.volume), series, MODEL, tmp_path / "seg.dcm"))
    assert str(seg.PatientName) == name


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    series = read_series(write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "s", name="x"))
    shifted = Volume(np.ones(series.volume.shape, np.uint8), series.volume.affine + np.eye(4, k=3), "mm")
    with pytest.raises(GeometryError, match="not on the grid"):
        write_seg(shifted, series, MODEL, tmp_path / "seg.dcm")
