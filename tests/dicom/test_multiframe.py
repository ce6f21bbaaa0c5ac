"""Enhanced multi-frame CT and MR: the same volume as the single frames, and objects that refer to the frames."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from geometries import resample_like
from pydicom.uid import LegacyConvertedEnhancedMRImageStorage, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from dicom.enhanced import make_enhanced
from dicom.test_seg import MODEL, dciodvfy, random_mask
from dicom.test_series import ORIENTATIONS, volume_of
from minivess.dicom import read_seg, read_series, write_seg, write_series
from minivess.dicom.derived import Derivation
from minivess.dicom.measurements import write_measurements
from minivess.dicom.secondary_capture import write_pictures
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.errors import GeometryError, InputError, UnsafeFileError
from minivess.metrics.morphology import measure_vessels


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS["oblique"]), tmp_path / "single", name="x")


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("shared", [True, False])
def test_the_frames_are_the_volume_of_the_single_images(tmp_path: Path, name: str, shared: bool) -> None:
    folder = write_series(volume_of(ORIENTATIONS[name]), tmp_path / "single", name=name)
    expected = read_series(folder).volume
    volume = read_series(make_enhanced(folder, tmp_path / "enhanced", shared=shared)).volume
    assert np.allclose(volume.affine, expected.affine)
    assert np.array_equal(volume.array, expected.array)


def test_all_objects_refer_to_the_frames_and_lie_on_them(single: Path, tmp_path: Path) -> None:
    folder = make_enhanced(single, tmp_path / "enhanced")
    series = read_series(folder)
    mask = random_mask(series.volume)
    path = write_seg(mask, series, MODEL, tmp_path / "seg.dcm", threshold=0.5)
    assert dciodvfy(path) == []
    assert np.array_equal(resample_like(read_seg(path), mask).array, mask.array)
    image, seg = pydicom.dcmread(folder / "enhanced.dcm"), pydicom.dcmread(path)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
        of_frame = image.PerFrameFunctionalGroupsSequence[int(source.ReferencedFrameNumber) - 1]
        positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in (groups, of_frame)]
        np.testing.assert_allclose(*([float(v) for v in p] for p in positions), atol=1e-6)
    derivation = Derivation.of(mask.array, series, MODEL, 0.5)
    values = np.random.default_rng(0).uniform(0, 0.6, mask.shape).astype(np.float32)
    assert dciodvfy(write_uncertainty_map(mask.with_array(values), derivation, tmp_path / "map.dcm")) == []
    pictures = write_pictures(mask, derivation, tmp_path)
    assert [error for file in pictures for error in dciodvfy(file)] == []
    first = pydicom.dcmread(pictures[0]).SourceImageSequence[0]
    assert (first.ReferencedSOPClassUID, first.ReferencedSOPInstanceUID) == (image.SOPClassUID, image.SOPInstanceUID)
    assert int(first.ReferencedFrameNumber) == int(series.in_volume_order()[0].InstanceNumber)
    measured = measure_vessels(mask.array, series.volume.spacing_um)
    assert dciodvfy(write_measurements(measured, path, derivation, tmp_path / "sr.dcm")) == []


def test_padding_of_a_frame_is_no_tissue(single: Path, tmp_path: Path) -> None:
    folder = make_enhanced(single, tmp_path / "enhanced")
    image = pydicom.dcmread(folder / "enhanced.dcm")
    image.add_new("PixelPaddingValue", "US", int(image.pixel_array.max()))
    image.save_as(folder / "enhanced.dcm")
    series = read_series(folder)
    assert any("padding" in note for note in series.notes)
    assert series.volume.array.max() < image.PixelPaddingValue


def test_a_legacy_converted_image_is_read(single: Path, tmp_path: Path) -> None:
    folder = make_enhanced(single, tmp_path / "enhanced", kind=LegacyConvertedEnhancedMRImageStorage)
    assert read_series(folder).volume.shape == (14, 12, 7)


def change(folder: Path, **values: object) -> pydicom.Dataset:
    image = pydicom.dcmread(folder / "enhanced.dcm")
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.save_as(folder / "enhanced.dcm")
    return image


def test_what_is_no_single_enhanced_volume_is_refused(single: Path, tmp_path: Path) -> None:
    folder = make_enhanced(single, tmp_path / "enhanced")
    image = change(folder, SOPClassUID=MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    with pytest.raises(InputError, match=r"Multi-frame Grayscale Word Secondary Capture.*Allowed: Enhanced CT"):
        read_series(folder)
    folder = make_enhanced(single, tmp_path / "two")
    (folder / "copy.dcm").write_bytes((folder / "enhanced.dcm").read_bytes())
    change_uid = pydicom.dcmread(folder / "copy.dcm")
    change_uid.SOPInstanceUID = pydicom.uid.generate_uid()
    change_uid.save_as(folder / "copy.dcm")
    with pytest.raises(InputError, match=r"2 files, 2 of them multi-frame"):
        read_series(folder)
    folder = make_enhanced(single, tmp_path / "phases")
    image = pydicom.dcmread(folder / "enhanced.dcm")
    groups = image.PerFrameFunctionalGroupsSequence
    groups[0].PlanePositionSequence = groups[1].PlanePositionSequence
    image.save_as(folder / "enhanced.dcm")
    with pytest.raises(GeometryError, match="position of another slice"):
        read_series(folder)
    folder = make_enhanced(single, tmp_path / "groups")
    change(folder, PerFrameFunctionalGroupsSequence=groups[:3])
    with pytest.raises(InputError, match="NumberOfFrames is 7, but 3 frames are described"):
        read_series(folder)
    folder = make_enhanced(single, tmp_path / "part")
    change(folder, ConcatenationUID="1.2.3", InConcatenationNumber=1, InConcatenationTotalNumber=2)
    with pytest.raises(InputError, match="one part of a concatenation of 2"):
        read_series(folder)
    folder = make_enhanced(single, tmp_path / "rescaled", shared=False)
    image = pydicom.dcmread(folder / "enhanced.dcm")
    del image.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence
    image.save_as(folder / "enhanced.dcm")
    with pytest.raises(InputError, match="6 of 7 frames state a PixelValueTransformationSequence"):
        read_series(folder)
    folder = make_enhanced(single, tmp_path / "large")
    with pytest.raises(UnsafeFileError):
        read_series(folder, limit_bytes=1000)


def test_real_enhanced_images(shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / "pydicom_enhanced_and_seg.zip") as archive:
        archive.extractall(tmp_path)
    for name, message in (("eCT_Supplemental", ""), ("emri_small", "NumberOfFrames is 10, but 0 frames are described")):
        (folder := tmp_path / f"{name} alone").mkdir()
        next(tmp_path.rglob(f"{name}.dcm")).rename(folder / "image.dcm")
        if message:  # its functional groups were removed
            with pytest.raises(InputError, match=message):
                read_series(folder)
        else:
            volume = read_series(folder).volume
            assert volume.shape == (512, 512, 2)
            assert volume.spacing[2] == pytest.approx(10)
