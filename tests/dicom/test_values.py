"""Stored values, not real world values; JPEG Lossless; SEG files of other kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from minivess.dicom import read_seg, read_series, write_series
from minivess.dicom.codestream import codestream_size
from minivess.errors import InputError, UnsafeFileError
from minivess.volume import Volume

AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])


@pytest.mark.row(85)
def test_read_series__takes_stored_values_not_real_world_values(tmp_path: Path) -> None:
    write_series(Volume(np.full((16, 12, 6), 1000, np.uint16), AFFINE, "mm"), tmp_path / "s", name="values")
    for number, file in enumerate(sorted((tmp_path / "s").glob("*.dcm"))):
        dataset = pydicom.dcmread(file)
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "0", "US"
        unit, mapping = Dataset(), Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "1", "UCUM", "no units"
        mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 65535
        mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, 0.25 * (number + 1)
        mapping.LUTExplanation = mapping.LUTLabel = "x"
        mapping.MeasurementUnitsCodeSequence = Sequence([unit])
        dataset.RealWorldValueMappingSequence = Sequence([mapping])
        dataset.save_as(file, enforce_file_format=True)
    assert (read_series(tmp_path / "s").volume.array == 1000).all()


#: JPEG 2000 also as a file in boxes, as some devices write it.
ENCODERS = pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLosslessSV1, lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=16)),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0)),
        (JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", reversible=True, level=0)),
        (HTJ2KLossless, lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True)),
    ],
    ids=["JPEG Lossless", "JPEG-LS", "JPEG 2000", "JPEG 2000 in boxes", "HTJ2K"],
)


@pytest.mark.row(85)
@ENCODERS
def test_read_series__decodes_lossless_images(tmp_path: Path, syntax: UID, encode: Callable[[np.ndarray], bytes]) -> None:
    array = (np.random.default_rng(0).random((40, 32, 4)) * 4000).astype(np.uint16)
    write_series(Volume(array, AFFINE, "mm"), tmp_path / "s", name="jpeg")
    plain = read_series(tmp_path / "s").volume
    for file in (tmp_path / "s").glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = encapsulate([encode(dataset.pixel_array)])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file, enforce_file_format=True)
    assert (read_series(tmp_path / "s").volume.array == plain.array).all()


@pytest.mark.row(85)
@pytest.mark.parametrize("bits", [8, 12])
def test_read_series__decodes_jpeg_extended(tmp_path: Path, bits: int) -> None:
    x, y, z = np.mgrid[:40, :32, :4]
    array = ((1 + np.sin(x / 6 + z) * np.cos(y / 5)) * 2 ** (bits - 2)).astype(np.uint16)
    write_series(Volume(array, AFFINE, "mm"), tmp_path / "s", name="jpeg")
    plain = read_series(tmp_path / "s").volume
    for file in (tmp_path / "s").glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        kind = np.uint8 if bits == 8 else np.uint16
        frame = imagecodecs.jpeg_encode(dataset.pixel_array.astype(kind), level=98, bitspersample=bits)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = np.dtype(kind).itemsize * 8, bits, bits - 1
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
        dataset.save_as(file, enforce_file_format=True)
    read = read_series(tmp_path / "s").volume
    assert np.abs(read.array - plain.array).max() <= 0.02 * plain.array.max(), "lossy, but the same picture"
    assert np.corrcoef(read.array.ravel(), plain.array.ravel())[0, 1] > 0.999
    assert np.allclose(read.affine, plain.affine)


@ENCODERS
def test_read_series__a_picture_that_is_larger_than_its_header_says_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: UID, encode: Callable[[np.ndarray], bytes]
) -> None:
    write_series(Volume(np.zeros((16, 16, 4), np.uint16), AFFINE, "mm"), tmp_path / "s", name="bomb")
    large = encode(np.zeros((4000, 3000), np.uint16))
    assert codestream_size(large) == (4000, 3000, 1)
    for file in (tmp_path / "s").glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = encapsulate([large])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file, enforce_file_format=True)
    monkeypatch.setattr(Dataset, "pixel_array", property(lambda _: pytest.fail("it was decoded")))
    with pytest.raises(UnsafeFileError, match="4000 x 3000 pixels of 1 samples, the header states 16 x 16"):
        read_series(tmp_path / "s")


def test_read_series__run_lengths_may_look_like_the_start_of_a_codestream(tmp_path: Path) -> None:
    array = np.full((64, 64, 4), 0x4F51, np.uint16)
    array[:2, :, :] = 0x4F4F
    array[2:4, :, :] = 0x5151
    write_series(Volume(array, AFFINE, "mm"), tmp_path / "s", name="rle")
    plain = read_series(tmp_path / "s").volume
    found = False
    for file in (tmp_path / "s").glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        found |= b"\xff\x4f\xff\x51" in dataset.PixelData
        dataset.save_as(file, enforce_file_format=True)
    assert found
    assert (read_series(tmp_path / "s").volume.array == plain.array).all()


@pytest.mark.row(85)
@pytest.mark.parametrize("kind", ["two", "overlap", "fractional"])
def test_read_seg__refuses_other_kinds_in_words(tmp_path: Path, kind: str) -> None:
    write_series(Volume(np.zeros((24, 20, 6), np.uint16), AFFINE, "mm"), tmp_path / "s", name="kinds")
    sources = read_series(tmp_path / "s").datasets
    a, b = np.zeros((6, 20, 24), np.uint8), np.zeros((6, 20, 24), np.uint8)
    a[1:4, 5:9, 6:12], b[2:5, 7:11, 8:14] = 1, 1
    vessel = hd.sr.CodedConcept("59820001", "SCT", "Blood vessel")
    parts = [
        hd.seg.SegmentDescription(n, name, codes.SCT.BodyStructure, vessel, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n, name in ((1, "vessel"), (2, "other"))
    ]
    kinds = hd.seg.SegmentationTypeValues
    made = {
        "two": (np.stack([a, b * (1 - a)], -1), kinds.BINARY, parts, {}),
        "overlap": (np.stack([a, b], -1), kinds.BINARY, parts, {}),
        "fractional": (
            np.where(a > 0, 0.9, 0.2).astype(np.float32), kinds.FRACTIONAL, parts[:1],
            {"fractional_type": hd.seg.SegmentationFractionalTypeValues.PROBABILITY},
        ),
    }  # fmt: skip
    array, segmentation, described, more = made[kind]
    seg = hd.seg.Segmentation(
        sources, array, segmentation, described, generate_uid(), 10, generate_uid(), 1, "x", "x", "1", "1", **more
    )
    seg.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="one segment"):
        read_seg(tmp_path / "x.dcm")
