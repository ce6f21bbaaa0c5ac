"""Read exactly one DICOM series as a volume. An irregular series is refused; no slice is averaged, dropped or guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.uid import JPEGExtended12Bit

from minivess.dicom import jpeg_12_bit
from minivess.dicom.codestream import check_codestreams
from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.frames import from_dicom
from minivess.dicom.multiframe import multiframe_of, split_frames
from minivess.dicom.padding import replace_padding
from minivess.dicom.series_checks import check_headers, check_identity
from minivess.dicom.series_files import find_series
from minivess.dicom.source_header import source_headers, text_of, whole_number
from minivess.errors import GeometryError, InputError
from minivess.volume import Volume
from minivess.volume.checks import LIMIT_BYTES, check_budget, check_finite


@dataclass(frozen=True, eq=False)
class Series:
    """One DICOM series.

    Attributes:
        volume: Image in mm, float32, with rescale slope and intercept applied.
        datasets: Instances with their pixels; derived objects (SEG) refer to them.
        notes: Remarks for the report, for example about ignored files.
        multiframe: The enhanced multi-frame image whose frames the instances are; None where each has a file of its own.
    """

    volume: Volume
    datasets: Sequence[pydicom.Dataset]
    notes: tuple[str, ...]
    multiframe: pydicom.Dataset | None = None

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return str(self.datasets[0].SeriesInstanceUID)

    @property
    def slice_spacing_mm(self) -> float:
        """Distance of the slices, as their positions say."""
        return self.volume.spacing[2]

    def in_volume_order(self) -> list[pydicom.Dataset]:
        """Return the instances in the order of the volume's slices."""
        x, y, z = self.volume.affine[:3, 2]
        direction = np.array([-x, -y, z])  # RAS to LPS
        return sorted(self.datasets, key=lambda d: float(direction @ [float(v) for v in d.ImagePositionPatient]))


def read_series(folder: Path | str, *, limit_bytes: int = LIMIT_BYTES) -> Series:
    """Read the only image series in a folder and its subfolders.

    Args:
        folder: Folder of the files; their names and order do not matter.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When there is no image series or more than one, a file is damaged, or the images are of an unsupported
            kind (multi-frame but not enhanced, colour, burned-in annotation).
        GeometryError: When slices are missing, duplicated or tilted, or differ in orientation or size.
        UnsafeFileError: When all images together exceed the limit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"This is no folder: {folder}. Choose the folder that contains the DICOM files of one series.")
    with damaged_dicom(f"The series in {folder.name}"):
        return _read_series(folder, limit_bytes)


def _read_series(folder: Path, limit_bytes: int) -> Series:
    files, found = find_series(folder)
    headers = [_read(file, pixels=False) for file in files]
    notes = [f"{len(found.ignored)} files that are no images of a series were ignored"] if found.ignored else []
    notes += [f"{len(found.links)} linked folders were not followed"] if found.links else []
    check_identity(headers)
    multiframe = multiframe_of(headers)
    if multiframe is not None:
        headers = split_frames(multiframe)
    notes += check_headers(headers)
    check_budget((len(headers), int(headers[0].Rows), int(headers[0].Columns)), 4, limit_bytes=limit_bytes, source=folder.name)
    datasets = [_read(file, pixels=True) for file in files]
    for file, dataset in zip(files, datasets, strict=True):
        _decode(dataset, file)
    if multiframe is not None:
        datasets = split_frames(multiframe, datasets[0].pixel_array.reshape(-1, multiframe.Rows, multiframe.Columns))
    # Real world values may differ from slice to slice and have another meaning than the intensities that models learn from.
    _put_on_one_grid(datasets)
    try:
        # Hounsfield units are what they are; inverting for display is for images that are looked at.
        inverts = text_of(headers[0], "Modality") != "CT"
        volume = from_dicom(
            hd.get_volume_from_series(
                datasets, dtype=np.float32, apply_real_world_transform=False, apply_presentation_lut=inverts
            )
        )
    except ValueError as error:  # its messages are about geometry and kinds of images, not about patients
        raise GeometryError(f"The series is not a regular volume of a supported kind: {error} Export it again.") from error
    check_finite(volume.array, source=folder.name)
    series = Series(volume, datasets, tuple(notes), multiframe)
    padded = replace_padding(volume.array, series.in_volume_order())
    if padded:
        series = replace(series, notes=(*notes, f"{padded} voxels are padding; they count as the darkest tissue"))
    _, repaired = source_headers(series.in_volume_order(), series.slice_spacing_mm)
    return replace(series, notes=(*series.notes, *repaired))


def _read(file: Path, *, pixels: bool) -> pydicom.Dataset:
    with damaged_dicom(file.name):
        return pydicom.dcmread(file, stop_before_pixels=not pixels)


def _decode(dataset: pydicom.Dataset, file: Path) -> None:
    """Decode the pixels of one image, so that the message of a failure names its file.

    Raises:
        InputError: When the pixels cannot be decoded or do not have the shape of the header.
        UnsafeFileError: When they are compressed, and larger than the header says.
    """
    with damaged_dicom(f"{file.name}: the pixels"):
        check_codestreams(dataset, file.name)
        if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit:
            jpeg_12_bit.register()
        shape = dataset.pixel_array.shape
    frames = whole_number(dataset.get("NumberOfFrames", 1))
    stated = (frames, dataset.Rows, dataset.Columns) if frames > 1 else (dataset.Rows, dataset.Columns)
    if shape != stated:
        raise InputError(f"{file.name}: the pixels have shape {shape}, the header states {stated}. Export it again.")


def _put_on_one_grid(datasets: Sequence[pydicom.Dataset]) -> None:
    """Set frame of reference, pixel spacing and orientation of all slices to those of the first one.

    The checks have shown that they differ by rounding alone, or by de-identification.
    """
    for dataset in datasets[1:]:
        for keyword in ("FrameOfReferenceUID", "PixelSpacing", "ImageOrientationPatient"):
            dataset[keyword] = datasets[0][keyword]
