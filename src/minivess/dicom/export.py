"""Write a volume as a DICOM series, for example a microscope stack for a system that reads only DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

import minivess
from minivess.dicom.frames import to_dicom
from minivess.errors import InputError
from minivess.paths import atomic_folder
from minivess.volume import Volume

#: Added to Hounsfield units, so that what is stored is positive.
_CT_OFFSET = 1024
_COMMON = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator", "Laterality", "PatientPosition",
)  # fmt: skip


def write_series(
    volume: Volume, folder: Path, *, name: str, patient_id: str = "ANON", modality: Literal["MR", "CT"] = "MR"
) -> Path:
    """Write a volume as single-frame images, one file per slice; all files are written or none.

    The UIDs are derived from ``name`` and ``patient_id``: writing the same volume again gives the same series.

    Args:
        volume: Volume of integers or booleans in [0, 65535], in mm or um; DICOM geometry is in mm. For CT Hounsfield units, from
            -1024.
        folder: New or empty folder for the files.
        name: SeriesDescription; the first 64 characters are written.
        patient_id: PatientID; no other patient data are written.
        modality: MR Image Storage, or CT Image Storage.

    Returns:
        The folder.

    Raises:
        InputError: When a voxel is not an integer in the allowed range.
        OutputError: When the folder is not empty or cannot be written.
    """
    array, offset = volume.array, _CT_OFFSET if modality == "CT" else 0
    if array.dtype.kind not in "bui" or int(array.min()) < -offset or int(array.max()) > 65535 - offset:
        raise InputError(
            f"The voxels of a DICOM series ({modality}) must be integers in [{-offset}, {65535 - offset}]. Got {array.dtype} in "
            f"[{array.min()}, {array.max()}]. Scale and round them first."
        )
    spatial = to_dicom(volume.with_array((array.astype(np.int32) + offset).astype(np.uint16)))
    positions = spatial.get_plane_positions()
    orientation = spatial.get_plane_orientation()
    measures = spatial.get_pixel_measures()
    study, series, frame = (generate_uid(entropy_srcs=[patient_id, name, what]) for what in ("study", "series", "frame"))
    with atomic_folder(folder) as temporary:
        for index, (plane, position) in enumerate(zip(spatial.array, positions, strict=True), start=1):
            dataset = _header(patient_id, name, modality)
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=[patient_id, name, str(index)])
            dataset.InstanceNumber = index
            dataset.ImagePositionPatient = position[0].ImagePositionPatient
            dataset.ImageOrientationPatient = orientation[0].ImageOrientationPatient
            dataset.PixelSpacing = measures[0].PixelSpacing
            dataset.SliceThickness = measures[0].SliceThickness
            _add_pixels(dataset, plane)
            dataset.save_as(temporary / f"{index:04d}.dcm", enforce_file_format=True)
    return folder


def _header(patient_id: str, name: str, modality: str) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER"]
    dataset.Modality = modality
    dataset.Manufacturer = "MinIVess"
    dataset.ManufacturerModelName = "volume export"
    dataset.SoftwareVersions = minivess.__version__
    dataset.PatientID = patient_id
    dataset.SeriesDescription = name[:64]
    dataset.SeriesNumber = 1
    dataset.BurnedInAnnotation = "NO"
    if modality == "CT":
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -_CT_OFFSET, 1, "HU"
        empty: tuple[str, ...] = ("KVP", "AcquisitionNumber")
    else:
        dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"
        empty = ("ScanOptions", "MRAcquisitionType", "EchoTime", "RepetitionTime", "EchoTrainLength")
    for keyword in (*_COMMON, *empty):
        setattr(dataset, keyword, None)
    return dataset


def _add_pixels(dataset: pydicom.Dataset, plane: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> None:
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = plane.tobytes()
