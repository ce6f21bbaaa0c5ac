from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from PIL import Image

from minivess.errors import GeometryError, InputError, OutputError, UnsafeFileError
from minivess.volume import Volume, read_volume, write_volume
from volume.test_grid import volumes


def stack(shape: tuple[int, int, int] = (7, 6, 5)) -> Volume:
    array = np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)
    return Volume(array, np.diag([0.6, 0.6, 5.0, 1]), "um")


@pytest.mark.requirement("R01")
@given(volumes())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, suffix: str, volume: Volume) -> None:
    path = write_volume(volume, tmp_path_factory.mktemp("io") / f"v{suffix}")
    back = read_volume(path)
    assert np.array_equal(back.array, volume.array)
    assert back.array.dtype == volume.array.dtype
    assert back.same_grid(volume)
    assert back.unit == ("mm" if suffix == ".nrrd" else volume.unit)


def test_itk_lays_a_mask_over_its_image_whatever_the_unit_and_formats(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = Volume(stack().array, np.array([[-0.6, 0, 0, 9], [0, 0.6, 0, -4], [0, 0, 5, 2], [0, 0, 0, 1.0]]), "um")
    image, mask = (sitk.ReadImage(str(write_volume(volume, tmp_path / f"v{suffix}"))) for suffix in (".nii.gz", ".nrrd"))
    for value in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(image, value)() == pytest.approx(getattr(mask, value)(), rel=1e-5, abs=1e-9)


@pytest.mark.row(17)
def test_a_gzip_bomb_in_an_nrrd_is_stopped_at_what_the_header_claims(tmp_path: Path) -> None:
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: gzip\nspacings: 1 1 1\n\n"
    (tmp_path / "v.nrrd").write_bytes(header + gzip.compress(bytes(50_000_000)))
    with pytest.raises(InputError, match="more voxels than its header says"):
        read_volume(tmp_path / "v.nrrd", unit="mm")


@pytest.mark.row(21)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_every_dtype_survives(tmp_path: Path, suffix: str, dtype: type) -> None:
    volume = Volume(np.arange(24).reshape(2, 3, 4).astype(dtype), np.eye(4), "mm")
    back = read_volume(write_volume(volume, tmp_path / f"v{suffix}"))
    assert np.array_equal(back.array, volume.array)


def test_an_ome_tiff_carries_its_spacing(tmp_path: Path) -> None:
    volume = stack()
    back = read_volume(write_volume(volume, tmp_path / "v.ome.tif"))
    assert np.array_equal(back.array, volume.array)
    assert back.same_grid(volume)


def test_a_tiff_without_spacing_is_refused_with_what_to_pass(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"--spacing .* --unit um"):
        read_volume(tmp_path / "v.tif")
    assert read_volume(tmp_path / "v.tif", spacing=(1, 1, 5)).spacing_um == (1, 1, 5)


def test_tiff_pages_are_z_and_rows_are_y(tmp_path: Path) -> None:
    pages = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    tifffile.imwrite(tmp_path / "v.tif", pages, photometric="minisblack")
    assert read_volume(tmp_path / "v.tif", spacing=(1, 1, 5)).array[3, 2, 1] == pages[1, 2, 3]


def test_a_colour_tiff_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "v.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="grey stack"):
        read_volume(tmp_path / "v.tif", spacing=(1, 1, 5))


def test_tiff_cannot_say_that_axes_are_turned(tmp_path: Path) -> None:
    turned = Volume(stack().array, np.diag([-1.0, 1, 1, 1]), "um")
    with pytest.raises(GeometryError, match="TIFF cannot store"):
        write_volume(turned, tmp_path / "v.tif")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_slices_is_read_in_natural_order(tmp_path: Path) -> None:
    for index in range(12):
        Image.fromarray(np.full((4, 5), index, np.uint8)).save(tmp_path / f"slice{index}.png")
    volume = read_volume(tmp_path, spacing=(0.6, 0.6, 0.6), unit="mm")
    assert volume.shape == (5, 4, 12)
    assert volume.array[0, 0].tolist() == list(range(12))


def test_slices_of_unlike_size_are_refused(tmp_path: Path) -> None:
    for index, width in enumerate((5, 6)):
        Image.fromarray(np.zeros((4, width), np.uint8)).save(tmp_path / f"{index}.png")
    with pytest.raises(GeometryError, match="slices differ"):
        read_volume(tmp_path, spacing=(1, 1, 1))


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="one kind of image"):
        read_volume(tmp_path, spacing=(1, 1, 1))


def test_colour_slices_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(InputError, match="grey"):
        read_volume(tmp_path, spacing=(1, 1, 1))


def nifti(path: Path, **header: object) -> Path:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))
    image.header.set_xyzt_units("mm")
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.mark.row(18)
def test_a_nifti_without_a_unit_is_refused_until_it_is_stated(tmp_path: Path) -> None:
    path = nifti(tmp_path / "v.nii", xyzt_units=0)
    with pytest.raises(InputError, match="--unit um"):
        read_volume(path)
    assert read_volume(path, unit="um").unit == "um"


def test_a_stated_unit_wins_over_the_files(tmp_path: Path) -> None:
    assert read_volume(nifti(tmp_path / "v.nii"), unit="um").spacing_um == (1, 1, 1)


@pytest.mark.requirement("R02")
@pytest.mark.row(17)
def test_a_header_that_claims_24_gb_is_refused_unread(tmp_path: Path) -> None:
    path = nifti(tmp_path / "v.nii")
    raw = bytearray(path.read_bytes())
    raw[40:56] = struct.pack("<8h", 3, 3000, 3000, 2700, 1, 1, 1, 1)
    path.write_bytes(raw[:352])
    with pytest.raises(UnsafeFileError, match=r"22\.6 GiB"):
        read_volume(path)
    with pytest.raises(UnsafeFileError, match="cut off"):
        read_volume(path, limit_bytes=2**40)


@pytest.mark.requirement("R02")
def test_a_truncated_gzip_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 255, (32, 32, 32)).astype(np.uint8), np.eye(4))
    image.header.set_xyzt_units("mm")
    packed = gzip.compress(image.to_bytes())
    (tmp_path / "v.nii.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="cut off"):
        read_volume(tmp_path / "v.nii.gz")


@pytest.mark.row(18)
def test_sform_and_qform_must_agree(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))
    image.header.set_xyzt_units("mm")
    image.set_sform(np.diag([1.0, 1, 1, 1]), code="scanner")
    image.set_qform(np.diag([-1.0, 1, 1, 1]), code="scanner")
    nib.save(image, tmp_path / "v.nii")
    with pytest.raises(GeometryError, match="sform and qform"):
        read_volume(tmp_path / "v.nii")


@pytest.mark.row(18)
def test_a_singular_sform_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "v.nii")
    raw = bytearray(path.read_bytes())
    raw[254:256] = struct.pack("<h", 1)
    raw[312:328] = bytes(16)
    path.write_bytes(raw)
    with pytest.raises(GeometryError, match="spacing"):
        read_volume(path)


@pytest.mark.row(21)
def test_four_axes_are_refused_and_a_trailing_one_is_not(tmp_path: Path) -> None:
    for shape, ok in (((3, 4, 5, 2), False), ((3, 4, 5, 1), True)):
        image = nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4))
        image.header.set_xyzt_units("mm")
        nib.save(image, tmp_path / "v.nii")
        if ok:
            assert read_volume(tmp_path / "v.nii").shape == (3, 4, 5)
        else:
            with pytest.raises(InputError, match="three axes"):
                read_volume(tmp_path / "v.nii")


@pytest.mark.row(21)
def test_nan_is_refused_with_count_and_place(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = np.nan
    array[2, 3, 4] = np.inf
    path = write_volume(Volume(array, np.eye(4), "mm"), tmp_path / "v.nii.gz")
    with pytest.raises(InputError, match=r"2 voxels .* first at index \(1, 2, 3\)"):
        read_volume(path)


@pytest.mark.row(19)
@pytest.mark.parametrize("field", ["data file: ../secret.txt", "data file: LIST", "datafile: /etc/passwd"])
def test_an_nrrd_that_names_another_file_is_refused(tmp_path: Path, field: str) -> None:
    (tmp_path / "secret.txt").write_text("sentinel " * 100)
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspacings: 1 1 1\n{field}\n\n"
    (tmp_path / "v.nrrd").write_text(header)
    with pytest.raises((UnsafeFileError, InputError)) as caught:
        read_volume(tmp_path / "v.nrrd", unit="mm")
    assert "sentinel" not in str(caught.value)


@pytest.mark.row(17)
def test_an_nrrd_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9000 9000 900\nencoding: gzip\nspacings: 1 1 1\n\nxx"
    (tmp_path / "v.nrrd").write_text(header)
    with pytest.raises(UnsafeFileError):
        read_volume(tmp_path / "v.nrrd", unit="mm")


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.tif"])
def test_a_file_of_rubbish_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"rubbish" * 100)
    with pytest.raises(InputError):
        read_volume(tmp_path / name, **({"spacing": (1, 1, 1)} if name == "v.tif" else {}))


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_volume(tmp_path / "nothing.nii")
    (tmp_path / "v.czi").write_text("x")
    with pytest.raises(InputError, match=r"unknown format.*\.nii\.gz.*OME-TIFF"):
        read_volume(tmp_path / "v.czi")
    with pytest.raises(InputError, match="unknown format"):
        write_volume(stack(), tmp_path / "v.czi")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_volume(stack(), tmp_path / "v.tif")
    before = path.read_bytes()
    with pytest.raises(GeometryError):
        write_volume(Volume(stack().array, np.diag([1.0, -1, 1, 1]), "um"), path)
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["v.tif"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        write_volume(stack(), tmp_path / "file" / "v.nii.gz")


def test_the_real_files_read(shared_data: Path) -> None:
    label = read_volume(shared_data / "minivess_label" / "mv68_y.nii.gz", unit="um")
    assert label.shape == (512, 512, 106)
    assert label.spacing_um == pytest.approx((0.994, 0.994, 2.0))
    poon = shared_data / "two_photon" / "images" / "poon2015_BBB_noLeakage_BM4D_denoised.tif"
    assert read_volume(poon, spacing=(0.994, 0.994, 5)).shape == (512, 512, 25)
    assert read_volume(shared_data / "angio" / "MR_Gd.nii.gz").unit == "mm"
    assert read_volume(shared_data / "light_sheet" / "image_000.tif", spacing=(1, 1, 1)).array.max() == 21444


def test_a_stack_of_slices_with_a_gap_is_refused_by_name(tmp_path: Path) -> None:
    def stack(folder: str, *names: str) -> Path:
        (tmp_path / folder).mkdir()
        for name in names:
            tifffile.imwrite(tmp_path / folder / name, np.zeros((4, 5), np.uint8))
        return tmp_path / folder

    options = {"spacing": (1.0, 1.0, 2.0), "unit": "um"}
    with pytest.raises(GeometryError, match=r"gap between z3\.tif and z5\.tif"):
        read_volume(stack("gap", "z1.tif", "z2.tif", "z3.tif", "z5.tif"), **options)
    for folder, names in {
        "copy": ("1.tif", "2.tif", "2_2.tif", "3.tif"),
        "again": ("a1.tif", "a2.tif", "b1.tif", "b2.tif"),
    }.items():
        place = stack(folder, *names)
        if folder == "again":
            with pytest.raises(GeometryError, match="numbers that repeat or go back between a2"):
                read_volume(place, **options)
        else:
            assert read_volume(place, **options).shape == (5, 4, 4)  # more numbers than one: not known what they count
    for folder, names in {
        "every second": ("z2.tif", "z4.tif", "z6.tif"),
        "two numbers": ("s1_t7.tif", "s2_t9.tif", "s3_t15.tif"),
        "times": ("s_120301.tif", "s_120344.tif", "s_120501.tif"),
        "no numbers": ("a.tif", "b.tif", "d.tif"),
    }.items():
        assert read_volume(stack(folder, *names), **options).shape == (5, 4, 3)


def test_write_volume__an_axis_that_is_longer_than_nifti_1_counts(tmp_path: Path) -> None:
    volume = Volume(np.arange(33_000 * 2 * 3, dtype=np.int32).reshape(33_000, 2, 3), np.diag([0.5, 0.5, 2, 1]), "um")
    read = read_volume(write_volume(volume, tmp_path / "x.nii.gz"))
    np.testing.assert_array_equal(read.array, volume.array)
    assert read.same_grid(volume)


def test_write_volume__half_floats_in_every_format(tmp_path: Path) -> None:
    volume = Volume(np.random.default_rng(0).random((6, 5, 4)).astype(np.float16), np.diag([0.5, 0.5, 2, 1]), "um")
    for name in ("x.nii.gz", "x.nrrd", "x.mha", "x.ome.tif"):
        np.testing.assert_array_equal(read_volume(write_volume(volume, tmp_path / name)).array, volume.array)
