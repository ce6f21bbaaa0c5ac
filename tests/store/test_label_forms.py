"""Labels as 3D Slicer and ITK write them: names in the header, cropped extents, grids that are off by rounding."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from minivess.errors import GeometryError, InputError, UnsafeFileError
from minivess.store.label_check import check_label
from minivess.volume import Volume, read_volume, write_volume

AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])
AFFINE[:3, 3] = (10, -20, 5)
IMAGE = Volume(np.zeros((48, 40, 12), np.int16), AFFINE, "mm")
LABELS = {"vessel": 1}


def save(path: Path, mask: np.ndarray, segments: list[tuple[str, int]], first: tuple[int, int, int] = (0, 0, 0)) -> Path:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    header = {
        "space": "left-posterior-superior", "space directions": lps[:3, :3].T, "kinds": ["domain"] * 3, "encoding": "gzip",
        "space origin": lps[:3, :3] @ np.array(first) + lps[:3, 3],
    }  # fmt: skip
    for number, (name, value) in enumerate(segments):
        header |= {f"Segment{number}_Name": name, f"Segment{number}_LabelValue": str(value), f"Segment{number}_Layer": "0"}
    nrrd.write(str(path), mask, header, index_order="F")
    return path


@pytest.mark.row(68)
def test_check_label__takes_names_and_values_from_slicers_header(tmp_path: Path) -> None:
    vessel = np.zeros(IMAGE.shape, np.uint8)
    vessel[10:30, 12:16, 4:8] = 1
    both = vessel * 5
    both[35:40, 30:36, 2:6] = 2
    with pytest.raises(InputError, match="'bone'"):
        check_label(save(tmp_path / "bone.seg.nrrd", vessel, [("bone", 1)]), IMAGE, labels=LABELS)
    for name, mask, segments in (("five", vessel * 5, [("vessel", 5)]), ("both", both, [("bone", 2), ("vessel", 5)])):
        checked = check_label(save(tmp_path / f"{name}.seg.nrrd", mask, segments), IMAGE, labels=LABELS)
        assert (checked.volume.array == vessel).all()
    assert any("'bone' was left out" in change for change in checked.changes)


@pytest.mark.row(68)
def test_check_label__lays_a_cropped_extent_on_the_grid(tmp_path: Path) -> None:
    vessel = np.zeros(IMAGE.shape, np.uint8)
    vessel[10:30, 12:16, 4:8] = 1
    cropped = save(tmp_path / "c.seg.nrrd", vessel[8:32, 10:18, 3:9], [("vessel", 1)], (8, 10, 3))
    assert (check_label(cropped, IMAGE, labels=LABELS).volume.array == vessel).all()
    for first in ((40, 30, 8), (8.5, 10, 3), (-1, 0, 0)):
        with pytest.raises(GeometryError, match="not on the image's grid"):
            check_label(save(tmp_path / "o.seg.nrrd", vessel[8:32, 10:18, 3:9], [("vessel", 1)], first), IMAGE, labels=LABELS)


@pytest.mark.row(69)
def test_check_label__of_a_grid_off_by_rounding_is_taken_and_farther_says_by_how_much(tmp_path: Path) -> None:
    a, b = 0.17, 0.3
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = np.round(turn, 5) * (0.5, 0.5, 2.0)
    image = nib.Nifti1Image(np.zeros((256, 256, 4), np.int16), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "i.nii.gz")
    seen = sitk.ReadImage(str(tmp_path / "i.nii.gz"))
    sitk.WriteImage(sitk.Cast(seen + 1, sitk.sitkUInt8), str(tmp_path / "l.nii.gz"))
    volume = read_volume(tmp_path / "i.nii.gz")
    assert check_label(tmp_path / "l.nii.gz", volume, labels=LABELS).voxels == {"vessel": 256 * 256 * 4}
    moved = affine.copy()
    moved[0, 3] += 0.2
    write_volume(Volume(np.ones((256, 256, 4), np.uint8), moved, "mm"), tmp_path / "far.nii.gz")
    with pytest.raises(GeometryError, match=r"up to 0\.4 voxels apart; allowed are 0\.1"):
        check_label(tmp_path / "far.nii.gz", volume, labels=LABELS)


@pytest.mark.row(112)
def test_check_label__refuses_a_label_larger_than_its_image_unread(tmp_path: Path) -> None:
    write_volume(Volume(np.zeros((256, 256, 64), np.uint8), AFFINE, "mm"), tmp_path / "l.nii.gz")
    with pytest.raises(UnsafeFileError):
        check_label(tmp_path / "l.nii.gz", IMAGE, labels=LABELS)
