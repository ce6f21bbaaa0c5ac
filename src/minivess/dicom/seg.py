"""Write a vessel mask as DICOM SEG, and read one back."""

from __future__ import annotations

import copy
from hashlib import sha256
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

import minivess
from minivess.dicom.frames import from_dicom, to_dicom
from minivess.dicom.series import Series
from minivess.errors import GeometryError
from minivess.models import ModelRef
from minivess.paths import atomic_file
from minivess.volume import Volume

MANUFACTURER = "MinIVess"
#: Attributes of patient and study that may be empty but must be there; de-identified files often lack them.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip


def derived_uid(series: Series, model: ModelRef | None, what: str, content: str = "") -> UID:
    """Derive a UID from the source series and what made the result: the same case again replaces its result."""
    source = [model.weights_sha256, model.version] if model is not None else [content]
    return generate_uid(entropy_srcs=[series.uid, *source, minivess.__version__, what])


def write_seg(mask: Volume, series: Series, model: ModelRef | None, path: Path) -> Path:
    """Write a mask on a series' grid as a BINARY DICOM SEG with one segment, blood vessel (SCT 59820001).

    Patient and study are those of the source: the SEG is exactly as identified as its source. An empty mask gives a valid
    SEG whose frames are all empty, and a SeriesDescription that says so.

    Args:
        mask: Volume of 0 and 1.
        series: What was segmented.
        model: What segmented it; name, version and weights' hash become the algorithm identification. None where a person
            has drawn or accepted it: the segment is then of the type MANUAL.
        path: The file to write.

    Raises:
        GeometryError: When the mask is not on the series' grid.
    """
    if not mask.same_grid(series.volume):
        raise GeometryError(f"The mask ({mask.shape}) is not on the grid of the series ({series.volume.shape}).")
    sources = [_completed(dataset, series.frame_of_reference_uid) for dataset in series.datasets]
    voxels = (mask.array > 0).astype(np.uint8)
    found = bool(voxels.any())
    made = model or ModelRef("label server", minivess.__version__, sha256(voxels.tobytes()).hexdigest())
    types = hd.seg.SegmentAlgorithmTypeValues

    def uid(what: str) -> UID:
        return derived_uid(series, model, what, made.weights_sha256)

    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="vessel",
        segmented_property_category=codes.SCT.BodyStructure,
        segmented_property_type=hd.sr.CodedConcept("59820001", "SCT", "Blood vessel"),
        algorithm_type=types.AUTOMATIC if model is not None else types.MANUAL,
        algorithm_identification=_identification(model) if model is not None else None,
        tracking_uid=uid("tracking"),
        tracking_id="vessel",
    )
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=to_dicom(series.volume.with_array(voxels), frame_of_reference_uid=series.frame_of_reference_uid),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=uid("series"),
        series_number=_series_number(sources[0]),
        sop_instance_uid=uid("instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=made.bundle,
        software_versions=[f"minivess {minivess.__version__}", f"bundle {made.version}"],
        device_serial_number=made.weights_sha256[:16],
        series_description="Vessels" if found else "Vessels: no finding",
        content_label="VESSELS",
        content_description=f"{'Automatic' if model is not None else 'Accepted'} segmentation of blood vessels",
        omit_empty_frames=found,
    )
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary, enforce_file_format=True)
    return path


def _identification(model: ModelRef) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name=model.bundle,
        family=codes.DCM.ArtificialIntelligence,
        version=model.version,
        source=MANUFACTURER,
        parameters={"weights_sha256": model.weights_sha256},
    )


def read_seg(path: Path) -> Volume:
    """Read the one segment of a SEG as a uint8 volume in mm.

    The volume spans the slices from the first to the last frame in the file; empty slices between them are empty, those
    beyond are not in it. Lay it on the series with :func:`minivess.volume.resample_like` and ``order=0``.
    """
    segmentation = hd.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
    return from_dicom(volume, volume.array.astype(np.uint8))


def _completed(dataset: pydicom.Dataset, frame_of_reference_uid: str) -> pydicom.Dataset:
    """Copy a source without its pixels, and add empty type 2 attributes that it lacks."""
    header = pydicom.Dataset({element.tag: element for element in dataset if element.keyword != "PixelData"})
    header.file_meta = copy.deepcopy(dataset.file_meta)
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    header.FrameOfReferenceUID = frame_of_reference_uid
    return header


def _series_number(source: pydicom.Dataset) -> int:
    return int(source.get("SeriesNumber", 0) or 0) + 1000
