from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from geometries import resample_like
from scipy.spatial.transform import Rotation

from minivess.dicom import read_series, write_series
from minivess.dicom.series_files import holds_dicom
from minivess.errors import GeometryError, InputError, OutputError, UnsafeFileError
from minivess.volume import Volume

ORIENTATIONS = {
    "axial": np.diag([-1.0, -1.0, 2.0]),
    "ras": np.diag([1.0, 1.0, 2.0]),
    "anisotropic 2.0 / 0.5": np.diag([-0.5, -2.0, 3.0]),
    "oblique": Rotation.from_euler("xyz", (20, -30, 40), degrees=True).as_matrix() @ np.diag([0.7, 0.7, 2.5]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, 2.0], [0, -1.0, 0]]),
    "sagittal": np.array([[0, 0, 2.0], [-1.0, 0, 0], [0, -1.0, 0]]),
    "left-handed": np.diag([1.0, 1.0, -2.0]),
}


def volume_of(directions: np.ndarray, shape: tuple[int, int, int] = (14, 12, 7), unit: str = "mm") -> Volume:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions, (10, -20, 30)
    return Volume(np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16), affine, unit)  # type: ignore[arg-type]


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write_series(volume_of(ORIENTATIONS["axial"]), tmp_path / "series", name="axial")


def test_a_ct_series_has_the_hounsfield_units_of_its_volume(tmp_path: Path) -> None:
    volume = volume_of(ORIENTATIONS["axial"])
    volume = volume.with_array(volume.array.astype(np.int16) - 1024)
    folder = write_series(volume, tmp_path / "ct", name="ct", modality="CT")
    read = read_series(folder).volume
    assert np.array_equal(resample_like(read, volume).array, volume.array)
    image = min(folder.iterdir())
    assert pydicom.dcmread(image).Modality == "CT"
    verified = subprocess.run([Path(sys.executable).with_name("dciodvfy"), image], capture_output=True, text=True, check=False)
    assert [line for line in verified.stderr.splitlines() if line.startswith("Error")] == []
    with pytest.raises(InputError, match=r"\[-1024, 64511\]"):
        write_series(volume.with_array(volume.array - 5), tmp_path / "lower", name="ct", modality="CT")
    assert not (tmp_path / "lower").exists()


def edit(folder: Path, change: Callable[[int, pydicom.Dataset], object]) -> None:
    for index, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        change(index, dataset)
        dataset.save_as(file)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_series_lies_where_its_volume_lay(tmp_path: Path, name: str) -> None:
    volume = volume_of(ORIENTATIONS[name])
    write_series(volume, tmp_path / "s", name=name)
    for index, file in enumerate(sorted((tmp_path / "s").iterdir())):  # names and order say nothing
        file.rename(file.with_name(f"{(index * 5) % 7}_{index}"))
    back = read_series(tmp_path / "s").volume
    assert np.allclose(np.sort(back.spacing), np.sort(volume.spacing), atol=1e-6)
    assert np.array_equal(resample_like(back, volume).array, volume.array)


def test_um_become_mm_once(tmp_path: Path) -> None:
    write_series(volume_of(np.diag([0.994, 0.994, 5.0]), unit="um"), tmp_path / "s", name="um")
    assert pydicom.dcmread(tmp_path / "s" / "0001.dcm").PixelSpacing == [0.000994, 0.000994]
    assert read_series(tmp_path / "s").volume.spacing_um == pytest.approx((0.994, 0.994, 5.0), rel=1e-6)


def test_the_same_volume_gives_the_same_uids(tmp_path: Path) -> None:
    uids = []
    for folder in ("a", "b"):
        write_series(volume_of(ORIENTATIONS["ras"]), tmp_path / folder, name="x")
        uids.append([pydicom.dcmread(f).SOPInstanceUID for f in sorted((tmp_path / folder).iterdir())])
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 7
    with pytest.raises(OutputError, match="not empty"):
        write_series(volume_of(ORIENTATIONS["ras"]), tmp_path / "a", name="x")


@pytest.mark.requirement("R03")
def test_a_gap_is_refused_with_the_distances(series: Path) -> None:
    sorted(series.iterdir())[3].unlink()
    with pytest.raises(GeometryError, match=r"2 mm \(4 times\), 4 mm \(1 times\)"):
        read_series(series)


def test_a_missing_last_but_one_slice_is_not_averaged_away(series: Path) -> None:
    sorted(series.iterdir())[-2].unlink()
    with pytest.raises(GeometryError, match="not uniform"):
        read_series(series)


@pytest.mark.requirement("R03")
def test_doubled_slices_are_refused(series: Path) -> None:
    edit(series, lambda i, d: setattr(d, "ImagePositionPatient", [0, 0, 2.0 * (i // 2)]))
    with pytest.raises(GeometryError, match="3 slices have the position of another"):
        read_series(series)


@pytest.mark.requirement("R03")
def test_tilt_is_refused_in_degrees(series: Path) -> None:
    edit(series, lambda i, d: setattr(d, "ImagePositionPatient", [0, 2.0 * i * np.tan(np.radians(15)), 2.0 * i]))
    with pytest.raises(GeometryError, match=r"tilted by 15\.0 degrees"):
        read_series(series)


def test_a_localizer_among_the_slices_is_refused(series: Path) -> None:
    edit(series, lambda i, d: setattr(d, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]) if i == 0 else None)
    with pytest.raises(GeometryError, match=r"mixed.*\(6 slices\).*\(1 slices\)"):
        read_series(series)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID"])
def test_a_slice_without_a_place_is_refused(series: Path, keyword: str) -> None:
    edit(series, lambda i, d: d.__delattr__(keyword) if i == 2 else None)
    with pytest.raises(GeometryError, match=f"{keyword} in 1 of 7"):
        read_series(series)


def test_two_frames_of_reference_are_refused(series: Path) -> None:
    edit(series, lambda i, d: setattr(d, "FrameOfReferenceUID", f"1.2.{1 + i // 4}"))
    with pytest.raises(GeometryError, match=r"1\.2\.1 \(4 slices\), 1\.2\.2 \(3 slices\)"):
        read_series(series)


def test_a_frame_of_reference_for_every_slice_says_nothing_and_is_noted(series: Path) -> None:
    edit(series, lambda i, d: setattr(d, "FrameOfReferenceUID", f"1.2.{i + 1}"))
    assert "slice positions were used" in read_series(series).notes[0]


def test_two_series_are_refused_with_both_candidates(series: Path, tmp_path: Path) -> None:
    write_series(volume_of(ORIENTATIONS["axial"]), series / "more", name="other")
    with pytest.raises(InputError, match=r"2 image series[\s\S]*7 files[\s\S]*7 files[\s\S]*folder of its own"):
        read_series(series)


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(InputError, match="only 1 other files"):
        read_series(tmp_path)
    with pytest.raises(InputError, match="This is no folder"):
        read_series(tmp_path / "nothing")


def test_files_that_are_no_dicom_are_noted(series: Path) -> None:
    (series / "LICENSE").write_text("words")
    assert read_series(series).notes == ("1 files that are no images of a series were ignored",)


@pytest.mark.requirement("R03")
@pytest.mark.parametrize("kept_bytes", [0, 100, 140])
def test_a_slice_that_lost_its_header_is_not_dropped(series: Path, kept_bytes: int) -> None:
    file = sorted(series.iterdir())[-1]
    file.write_bytes(file.read_bytes()[:kept_bytes])
    with pytest.raises(InputError, match=r"0007\.dcm"):
        read_series(series)


def test_a_slice_without_a_series_is_not_dropped(series: Path) -> None:
    edit(series, lambda i, d: d.__delattr__("SeriesInstanceUID") if i == 6 else None)
    with pytest.raises(InputError, match=r"0007\.dcm.*SeriesInstanceUID"):
        read_series(series)


def test_a_truncated_file_is_named(series: Path) -> None:
    file = sorted(series.iterdir())[4]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"0005\.dcm"):
        read_series(series)


def test_rows_that_lie_are_refused(series: Path) -> None:
    edit(series, lambda _, d: setattr(d, "Rows", 500))
    with pytest.raises(InputError, match="the pixels cannot be read as DICOM"):
        read_series(series)


def test_burned_in_annotation_is_refused(series: Path) -> None:
    edit(series, lambda _, d: setattr(d, "BurnedInAnnotation", "YES"))
    with pytest.raises(InputError, match="BurnedInAnnotation"):
        read_series(series)


def test_rescale_slope_and_intercept_of_each_slice_are_applied(series: Path) -> None:
    def rescale(index: int, dataset: pydicom.Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 0.5 * (index + 1), -1000, "US"

    volume = volume_of(ORIENTATIONS["axial"])
    edit(series, rescale)
    back = resample_like(read_series(series).volume, volume).array
    # Slice 0001 is highdicom's first plane: the order of our own volume, reversed or not, shows in the slope.
    expected = volume.array.astype(np.float32)
    slopes = 0.5 * (np.arange(7) + 1)
    candidates = [expected * s - 1000 for s in (slopes, slopes[::-1])]
    assert any(np.allclose(back, c) for c in candidates)


def test_a_series_larger_than_allowed_is_refused_before_its_pixels(series: Path) -> None:
    with pytest.raises(UnsafeFileError, match="allowed"):
        read_series(series, limit_bytes=1000)


def test_the_tilted_real_series_is_refused_with_its_gaps(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data / "dicom" / "ge_ct_gantry_tilt_var_spacing.zip") as archive:
        archive.extractall(tmp_path)
    with pytest.raises(GeometryError, match=r"1\.081 mm[\s\S]*6\.999 mm[\s\S]*18\.5 degrees"):
        read_series(tmp_path)


def test_a_folder_of_dicom_is_known_by_names_or_preambles_and_one_of_pictures_is_none(series: Path, tmp_path: Path) -> None:
    assert holds_dicom(series)
    for number, file in enumerate(sorted(series.iterdir())):
        file.rename(file.with_name(f"IM{number}"))
    assert holds_dicom(series)
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "IM0").write_bytes(b"no preamble")
    assert holds_dicom(lost), "as scanners export: read as a series, whose words say what is wrong"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("1.png", "2.png", "DICOMDIR", "._0.dcm", "Thumbs.db"):
        (pictures / name).write_bytes(b"x")
    assert not holds_dicom(pictures)
    assert not holds_dicom(pictures / "1.png")
