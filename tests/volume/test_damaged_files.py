"""Files that are cut off, lie elsewhere, or have headers that are nonsense: refused with our own error, and nothing else is opened."""

from __future__ import annotations

import contextlib
import gzip
import logging
import struct
import sys
import threading
import tracemalloc
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from minivess.errors import InputError, MinivessError, UnsafeFileError
from minivess.volume import Volume, read_volume, write_volume
from minivess.volume.planes import Planes
from minivess.volume.segments import segments_of

STACK = (np.random.default_rng(0).random((10, 24, 32)) * 4000).astype(np.uint16)
AFFINE = np.diag([-0.5, -0.5, 2.0, 1.0])
LIMIT = 64 * 2**20


def image_file(folder: Path, name: str) -> Path:
    volume = Volume(np.ascontiguousarray(STACK.T), np.diag([0.5, 0.5, 2.0, 1.0]) if name.endswith("tif") else AFFINE, "mm")
    return write_volume(volume, folder / name)


TIFFS = {
    "imagej.tif": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "lzw.tif": {"compression": "lzw"},
    "plain.tif": {"photometric": "minisblack"},
    "ome.ome.tif": {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": 5}},
}


@pytest.mark.row(60)
@pytest.mark.parametrize("name", TIFFS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.95])
def test_read_volume__refuses_a_tiff_that_is_cut_off(tmp_path: Path, name: str, share: float) -> None:
    whole = tmp_path / name
    tifffile.imwrite(whole, STACK, **TIFFS[name])
    spacing = None if name == "ome.ome.tif" else (1.0, 1.0, 5.0)
    assert read_volume(whole, spacing=spacing).shape == (32, 24, 10)
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(MinivessError, match=r"cut off|cannot be read|planes"):
        read_volume(cut, spacing=spacing)


@pytest.mark.row(60)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_read_volume__refuses_other_files_that_are_cut_off(tmp_path: Path, name: str, share: float) -> None:
    whole = image_file(tmp_path, name)
    whole.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(MinivessError):
        read_volume(whole)


@pytest.mark.row(60, 63)
def test_read_tiff__refuses_directories_that_are_read_again_and_again(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)  # the chain is a ring
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError, match="directory"):
        read_volume(tmp_path / "a.tif", spacing=(1, 1, 5))
    tifffile.imwrite(tmp_path / "big.tif", STACK, photometric="minisblack", bigtiff=True)
    assert read_volume(tmp_path / "big.tif", spacing=(1, 1, 5)).shape == (32, 24, 10)


@pytest.mark.row(61)
@pytest.mark.parametrize("key", ["data file", "DATA FILE", "DataFile", "datafile", "Data_File"])
def test_read_nrrd__refuses_a_data_file_in_any_spelling(tmp_path: Path, key: str) -> None:
    file = image_file(tmp_path, "a.nrrd")
    head, _, voxels = file.read_bytes().partition(b"\n\n")
    file.write_bytes(head + f"\n{key}: /etc/passwd\n\n".encode() + voxels)
    with pytest.raises(UnsafeFileError, match="another file"):
        read_volume(file)


@pytest.mark.row(61)
@pytest.mark.parametrize("named", ["/etc/passwd", "other.raw", "LIST", "../a.raw", "a%02d.raw 1 3 1"])
def test_read_metaimage__refuses_other_files(tmp_path: Path, named: str) -> None:
    file = image_file(tmp_path, "a.mha")
    (tmp_path / "other.raw").write_bytes(bytes(STACK.nbytes))
    head, _, voxels = file.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    file.write_bytes(head + f"ElementDataFile = {named}\n".encode() + voxels)
    with pytest.raises(UnsafeFileError, match="another file"):
        read_volume(file)


MHA = "ObjectType = Image\nNDims = 3\nElementSpacing = 1 1 1\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"


def test_read_metaimage__keys_of_dicom_and_texts_in_any_language_are_read(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(STACK)
    image.SetMetaData("0008|0060", "MR")
    image.SetMetaData("Description", "Gefäße, Ärztin")
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert (read_volume(tmp_path / "a.mha").array == STACK.T).all()


@pytest.mark.parametrize(
    "line",
    [
        "ElementDataFile : ../secret.txt%.0d 0 0 1=",
        "ElementDataFile : ../secret=x.txt",
        "ElementDataFile: LIST =",
        "NDims = 3",
        "Comment = a\rElementDataFile : ../secret.txt = b",
    ],
)
def test_read_metaimage__a_line_that_itk_reads_in_another_way_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "secret.txt").write_bytes(b"SECRET " * 20)
    (tmp_path / "secret=x.txt").write_bytes(b"SECRET " * 20)
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "image.mha"
    file.write_bytes((MHA + "ElementDataFile = LOCAL\n").encode() + bytes(64))
    assert read_volume(file).shape == (4, 4, 4)
    file.write_bytes((MHA + line + "\nElementDataFile = LOCAL\n").encode() + bytes(64))
    with pytest.raises(UnsafeFileError, match="two ways"):
        read_volume(file)


OME = """<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="8" SizeZ="{count}" SizeC="1" SizeT="1">
<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>"""


def ome_slice(path: Path, value: int, named: list[str], own: int) -> None:
    """Write one plane, whose metadata name a file for each plane of a set."""
    uuids = [f"{n:08d}-1111-1111-1111-111111111111" for n in range(len(named))]
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{n}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{uuid}</UUID></TiffData>'
        for n, (name, uuid) in enumerate(zip(named, uuids, strict=True))
    )
    text = OME.format(
        own=uuids[own] if own < len(uuids) else "9" * 8 + "-1111-1111-1111-111111111111", count=len(named), planes=planes
    )
    tifffile.imwrite(path, np.full((8, 8), value, np.uint8), description=text.encode(), metadata=None, compression="zlib")


def test_read_slices__opens_no_file_that_the_metadata_of_a_slice_name(tmp_path: Path) -> None:
    ome_slice(tmp_path / "secret.tif", 99, ["secret.tif"], 0)
    (tmp_path / "stack").mkdir()
    for n in range(3):
        ome_slice(tmp_path / "stack" / f"s{n}.tif", n, ["../secret.tif"], 1)
    assert read_volume(tmp_path / "stack", spacing=(1, 1, 5), unit="um").array[0, 0].tolist() == [0, 1, 2]


def test_read_slices__a_set_of_ome_files_with_one_plane_each_is_read_as_a_folder(tmp_path: Path) -> None:
    names = [f"s{n}.ome.tif" for n in range(3)]
    for n, name in enumerate(names):
        ome_slice(tmp_path / name, n, names, n)
    assert read_volume(tmp_path, spacing=(1, 1, 5), unit="um").array[0, 0].tolist() == [0, 1, 2]
    with pytest.raises(UnsafeFileError, match="name the folder"):
        read_volume(tmp_path / names[0], spacing=(1, 1, 5), unit="um")


def test_read_tiff__a_damaged_file_says_nothing_of_one_that_another_thread_reads(tmp_path: Path) -> None:
    good, bad = image_file(tmp_path, "good.tif"), tmp_path / "bad.ome.tif"
    ome_slice(bad, 1, ["a.tif", "b.tif", "bad.ome.tif"], 2)
    ended = threading.Event()

    def read_bad() -> None:
        while not ended.is_set():
            with contextlib.suppress(MinivessError):
                read_volume(bad, spacing=(1, 1, 5), unit="um")

    thread = threading.Thread(target=read_bad)
    thread.start()
    try:
        for _ in range(60):
            assert read_volume(good).shape == STACK.T.shape
    finally:
        ended.set()
        thread.join()
    assert logging.getLogger("tifffile").propagate
    assert not logging.getLogger("tifffile").filters


def test_read_tiff__a_spacing_that_contradicts_what_the_file_states_in_plane_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fiji.tif"
    tifffile.imwrite(file, STACK, imagej=True, resolution=(2, 2), metadata={"unit": "um", "axes": "ZYX"})
    assert read_volume(file, spacing=(0.5, 0.5, 5), unit="um").spacing == (0.5, 0.5, 5.0)
    with pytest.raises(InputError, match=r"states a voxel size of 0.5 x 0.5 x \? um; got \(0.994, 0.994, 5\)"):
        read_volume(file, spacing=(0.994, 0.994, 5), unit="um")


@pytest.mark.parametrize("suffix", [".mha", ".MHA"])
def test_metaimage__64_bit_integers_are_read_back(tmp_path: Path, suffix: str) -> None:
    for dtype in (np.int64, np.uint64):
        volume = Volume(STACK.T.astype(dtype) * 2**33, AFFINE, "mm")
        read = read_volume(write_volume(volume, tmp_path / f"wide{suffix}"))
        assert read.array.dtype == dtype
        assert (read.array == volume.array).all()


@pytest.mark.row(61)
def test_read_tiff__opens_no_file_that_its_metadata_name(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret.tif"
    secret.parent.mkdir()
    tifffile.imwrite(secret, np.full((24, 32), 777, np.uint16))
    uids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">{uid}</UUID></TiffData>'
        for z, (name, uid) in enumerate(zip(("a.ome.tif", str(secret)), uids, strict=True))
    )
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uids[0]}">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="32" SizeY="24" SizeZ="2" SizeC="1" '
        'SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{planes}</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK[0], description=xml, metadata=None)
    opened: list[str] = []
    active = [True]
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if active[0] and event == "open" else None)
    with pytest.raises(UnsafeFileError, match="other files"):
        read_volume(tmp_path / "a.ome.tif")
    active[0] = False
    assert not any("secret" in path for path in opened)


@pytest.mark.row(62)
def test_read_nifti__lays_a_file_without_codes_where_itk_lays_it(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(STACK.T), None)
    image.header.set_zooms((0.5, 0.5, 2.0))
    image.header.set_xyzt_units("mm")
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "a.nii.gz")
    itk = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    volume = read_volume(tmp_path / "a.nii.gz")
    for index in ((0, 0, 0), (31, 23, 9)):
        ras = np.array([-1.0, -1.0, 1.0]) * itk.TransformIndexToPhysicalPoint(index)
        assert (volume.affine @ [*index, 1])[:3] == pytest.approx(ras)


@pytest.mark.row(62)
def test_read_nifti__uses_a_good_sform_beside_a_qform_off_by_rounding(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ascontiguousarray(STACK.T), AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    nib.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3f", data, 256, 0.0, 0.0, 1.0000002)
    (tmp_path / "a.nii").write_bytes(data)
    assert read_volume(tmp_path / "a.nii").affine == pytest.approx(AFFINE)


@pytest.mark.requirement("R02")
@pytest.mark.row(63)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.ome.tif"])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_read_volume__any_changed_header_ends_in_our_own_error_or_a_volume(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    whole = image_file(tmp_path, name).read_bytes()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, min(len(whole), 400) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / f"x{name[1:]}"
    file.write_bytes(changed)
    try:
        volume = read_volume(file, limit_bytes=LIMIT)
    except MinivessError:
        return
    assert volume.array.nbytes <= LIMIT


@pytest.mark.row(64)
def test_read_volume__refuses_values_that_float32_cannot_square(tmp_path: Path) -> None:
    for value in (1e39, 1e19, -1e300):
        write_volume(Volume(np.full((4, 4, 4), value), AFFINE, "mm"), tmp_path / "big.nii.gz")
        with pytest.raises(InputError, match="largest value"):
            read_volume(tmp_path / "big.nii.gz")
    assert read_volume(write_volume(Volume(np.full((4, 4, 4), 1e17), AFFINE, "mm"), tmp_path / "ok.nii.gz")).shape == (4, 4, 4)


@pytest.mark.row(65)
def test_read_tiff__takes_the_spacing_of_imagej_and_names_what_is_missing(tmp_path: Path) -> None:
    about = {"axes": "ZYX", "spacing": 5.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "fiji.tif", STACK, imagej=True, resolution=(2.0, 2.0), metadata=about)
    assert read_volume(tmp_path / "fiji.tif").spacing_um == pytest.approx((0.5, 0.5, 5.0))
    tifffile.imwrite(tmp_path / "no_z.tif", STACK, imagej=True, resolution=(2.0, 2.0), metadata={"axes": "ZYX", "unit": "um"})
    with pytest.raises(InputError, match=r"not along z.*--spacing 0\.5 0\.5 Z"):
        read_volume(tmp_path / "no_z.tif")


@pytest.mark.row(66)
def test_read_tiff__channel_time_and_depth_are_chosen_by_name(tmp_path: Path) -> None:
    several = (np.random.default_rng(1).random((2, 5, 3, 16, 20)) * 255).astype(np.uint16)
    tifffile.imwrite(tmp_path / "h.tif", several, imagej=True, metadata={"axes": "TZCYX"})
    spacing = (1.0, 1.0, 5.0)
    with pytest.raises(InputError, match=r"2 time points.*--time 1 to 2.*--depth-axis T"):
        read_volume(tmp_path / "h.tif", spacing=spacing)
    with pytest.raises(InputError, match=r"--channel 1 to 3"):
        read_volume(tmp_path / "h.tif", spacing=spacing, planes=Planes(time=1))
    with pytest.raises(InputError, match="3 channels"):
        read_volume(tmp_path / "h.tif", spacing=spacing, planes=Planes(4, 1))
    chosen = read_volume(tmp_path / "h.tif", spacing=spacing, planes=Planes(2, 2))
    assert (chosen.array == several[1, :, 1].T).all()
    tifffile.imwrite(tmp_path / "t.tif", several[0, :, 0], imagej=True, metadata={"axes": "TYX"})
    deep = read_volume(tmp_path / "t.tif", spacing=spacing, planes=Planes(depth_axis="T"))
    assert (deep.array == several[0, :, 0].T).all()


@pytest.mark.row(67)
def test_metaimage__is_read_and_written_as_itk_does(tmp_path: Path) -> None:
    volume = Volume(np.ascontiguousarray(STACK.T), AFFINE, "mm")
    itk = sitk.ReadImage(str(write_volume(volume, tmp_path / "a.mha")))
    assert (sitk.GetArrayFromImage(itk) == STACK).all()
    back = read_volume(tmp_path / "a.mha")
    assert back.same_grid(volume)
    assert (back.array == volume.array).all()
    sitk.WriteImage(itk, str(tmp_path / "b.mhd"))
    assert (read_volume(tmp_path / "b.mhd").array == volume.array).all()
    with pytest.raises(InputError, match=r"Write \.mha"):
        write_volume(volume, tmp_path / "c.mhd")


def test_names_in_capitals_are_read(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.ome.tif"):
        file = image_file(tmp_path, name)
        assert read_volume(file.rename(tmp_path / name.upper())).shape == (32, 24, 10)


def test_nrrd_header_with_lists_of_wrong_length_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.nrrd"
    nrrd.write(str(file), STACK.T, {"spacings": [1.0, 1.0, 1.0], "units": ["um"] * 3})
    file.write_bytes(
        file.read_bytes().replace(b"spacings: 1 1 1", b"spacings: 1 1").replace(b"spacings: 1.0 1.0 1.0", b"spacings: 1.0 1.0")
    )
    with pytest.raises(InputError):
        read_volume(file)


@pytest.mark.row(63)
@pytest.mark.parametrize("line", ["space origin:", "space directions: (", "Segment0_LabelValue:=nine", "sizes: x"])
def test_segments_of__a_damaged_header_ends_in_our_own_error(tmp_path: Path, line: str) -> None:
    whole = image_file(tmp_path, "a.nrrd").read_bytes()
    head, _, voxels = whole.partition(b"\n\n")
    kept = [row for row in head.split(b"\n") if not row.startswith(line.split(":")[0].encode())]
    file = tmp_path / "a.seg.nrrd"
    file.write_bytes(b"\n".join([*kept, b"Segment0_Name:=vessel", line.encode()]) + b"\n\n" + voxels)
    with pytest.raises(InputError, match="segments"):
        segments_of(file)


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_metaimage__a_damaged_stream_is_refused_at_once(tmp_path: Path, suffix: str) -> None:
    """ITK's reader never ends on some of them (found by an hour of fuzzing)."""
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.integers(0, 2000, (10, 24, 32)).astype(np.uint16))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), useCompression=True)
    voxels = path if suffix == ".mha" else path.with_suffix(".zraw")
    whole = voxels.read_bytes()
    assert read_volume(path).shape == (32, 24, 10)
    start = 1000  # after the header
    for position in rng.integers(start, len(whole) - 200, 40):
        voxels.write_bytes(whole[:position] + rng.bytes(40) + whole[position + 40 :])
        with pytest.raises(InputError, match=r"damaged|cut off"):
            read_volume(path)
    voxels.write_bytes(whole[: start + 5000])
    with pytest.raises(InputError, match=r"damaged|cut off"):
        read_volume(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_flipped_bit_or_a_cut_end_of_a_compressed_file_is_never_read_as_other_voxels(tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(0)
    volume = Volume(rng.poisson(20, (24, 20, 8)).astype(dtype), np.diag([1.0, 1.0, 3.0, 1.0]), "um")
    file, damaged = write_volume(volume, tmp_path / "v.nii.gz"), tmp_path / "damaged.nii.gz"
    content = file.read_bytes()
    for place in rng.integers(0, len(content), 150):
        bits = bytearray(content)
        bits[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(bits)
        with contextlib.suppress(MinivessError):  # a bit of the gzip header may say nothing of the content
            np.testing.assert_array_equal(read_volume(damaged, unit="um").array, volume.array)
    for left in range(1, 12):
        damaged.write_bytes(content[:-left])
        with pytest.raises(InputError, match="cut off or damaged"):
            read_volume(damaged)


def test_a_compressed_file_that_goes_on_after_its_voxels_is_refused(tmp_path: Path) -> None:
    file = write_volume(Volume(np.ones((4, 4, 4), np.uint8), np.eye(4), "um"), tmp_path / "v.nii.gz")
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()) + bytes(2**21)))
    with pytest.raises(InputError, match="follow the voxels"):
        read_volume(file)


@pytest.mark.parametrize("compressed", ["1", "T", "Yes"])
def test_read_volume__takes_no_guess_at_whether_a_metaimage_is_compressed(tmp_path: Path, compressed: str) -> None:
    file = write_volume(Volume(np.ascontiguousarray(STACK.T), AFFINE, "mm"), tmp_path / "x.mha")
    content = file.read_bytes()
    assert b"CompressedData = " in content
    before = content[content.index(b"CompressedData = ") :].split(b"\n")[0]
    file.write_bytes(content.replace(before, f"CompressedData = {compressed}".encode()))
    with pytest.raises(InputError, match="Allowed: True, False"):
        read_volume(file)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_read_volume__refuses_slices_that_are_too_large_before_it_decodes_them(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(np.zeros((3000, 2000), np.uint8))
    for number in range(3):
        image.save(tmp_path / f"{number}{suffix}", **({"compression": "tiff_deflate"} if suffix == ".tif" else {}))
    tracemalloc.start()
    with pytest.raises(UnsafeFileError):
        read_volume(tmp_path, spacing=(1, 1, 1), limit_bytes=2**20)
    assert tracemalloc.get_traced_memory()[1] < 3000 * 2000
    tracemalloc.stop()


def test_read_volume__refuses_a_large_slice_behind_small_ones_before_it_decodes_it(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "1.png")
    Image.fromarray(np.zeros((6000, 6000), np.uint8)).save(tmp_path / "2.png")
    tracemalloc.start()
    with pytest.raises(MinivessError, match="the slices differ"):
        read_volume(tmp_path, spacing=(1, 1, 1), limit_bytes=2**20)
    assert tracemalloc.get_traced_memory()[1] < 36 * 10**6 / 2
    tracemalloc.stop()
