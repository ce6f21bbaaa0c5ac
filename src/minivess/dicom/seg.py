"""Write a vessel mask as DICOM SEG, and read a SEG as a mask."""

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
from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.frames import from_dicom, to_dicom
from minivess.dicom.series import Series
from minivess.errors import GeometryError, InputError
from minivess.models import ModelRef
from minivess.paths import atomic_file
from minivess.volume import Volume

MANUFACTURER = "MinIVess"
#: Attributes of patient and study that may be empty but must exist (type 2); de-identified files often lack them.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip


def derived_uid(series: Series, model: ModelRef | None, what: str, content: str = "") -> UID:
    """Derive a UID from the source series and the model, so that a repeated segmentation replaces its former result.

    Args:
        series: Source series.
        model: Model that made the result; None for a manual segmentation.
        what: Name of the object that the UID identifies.
        content: Hash of the voxels, used where there is no model.
    """
    source = [model.weights_sha256, model.version] if model is not None else [content]
    return generate_uid(entropy_srcs=[series.uid, *source, minivess.__version__, what])


def write_seg(mask: Volume, series: Series, model: ModelRef | None, path: Path) -> Path:
    """Write a mask on the grid of a series as a BINARY DICOM SEG with one segment, blood vessel (SCT 59820001).

    Patient and study attributes are copied from the source series. An empty mask gives a valid SEG whose frames are all
    empty, with the SeriesDescription "Vessels: no finding".

    Args:
        mask: Volume on the grid of the series; a value above 0 is vessel.
        series: Segmented series.
        model: Model that made the mask; name, version and hash of the weights become the algorithm identification. None when
            an annotator drew or accepted the mask: the segment is then of the type MANUAL.
        path: File to write.

    Returns:
        The path.

    Raises:
        GeometryError: When the mask is not on the grid of the series.
        OutputError: When the file cannot be written.
    """
    if not mask.same_grid(series.volume):
        raise GeometryError(
            f"The mask {mask.shape} is not on the grid of the series {series.volume.shape}. Resample it first: resample_like."
        )
    sources = [_with_type_2(dataset, series.frame_of_reference_uid) for dataset in series.datasets]
    voxels = (mask.array > 0).astype(np.uint8)
    has_vessels = bool(voxels.any())
    source = model or ModelRef("label server", minivess.__version__, sha256(voxels.tobytes()).hexdigest())

    def uid(what: str) -> UID:
        return derived_uid(series, model, what, source.weights_sha256)

    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=to_dicom(series.volume.with_array(voxels), frame_of_reference_uid=series.frame_of_reference_uid),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment_description(model, uid("tracking"))],
        series_instance_uid=uid("series"),
        series_number=_series_number(sources[0]),
        sop_instance_uid=uid("instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=source.bundle,
        software_versions=[f"minivess {minivess.__version__}", f"bundle {source.version}"],
        device_serial_number=source.weights_sha256[:16],
        series_description="Vessels" if has_vessels else "Vessels: no finding",
        content_label="VESSELS",
        content_description=f"{'Automatic' if model is not None else 'Accepted'} segmentation of blood vessels",
        omit_empty_frames=has_vessels,
    )
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary, enforce_file_format=True)
    return path


def _segment_description(model: ModelRef | None, tracking_uid: UID) -> hd.seg.SegmentDescription:
    types = hd.seg.SegmentAlgorithmTypeValues
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="vessel",
        segmented_property_category=codes.SCT.BodyStructure,
        segmented_property_type=hd.sr.CodedConcept("59820001", "SCT", "Blood vessel"),
        algorithm_type=types.AUTOMATIC if model is not None else types.MANUAL,
        algorithm_identification=_identification(model) if model is not None else None,
        tracking_uid=tracking_uid,
        tracking_id="vessel",
    )


def _identification(model: ModelRef) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name=model.bundle,
        family=codes.DCM.ArtificialIntelligence,
        version=model.version,
        source=MANUFACTURER,
        parameters={"weights_sha256": model.weights_sha256},
    )


def read_seg(path: Path) -> Volume:
    """Read a binary SEG with one segment as a uint8 volume in mm, 0 and 1.

    The volume contains the slices from the first to the last frame of the file; slices without a frame between them are
    empty. Use :func:`minivess.volume.resample_like` with ``order=0`` to resample it to the grid of the series.

    Raises:
        InputError: When the file is not a SEG, is FRACTIONAL, has several segments, or cannot be read as one volume.
    """
    with damaged_dicom(path.name):
        segmentation = hd.seg.segread(path)
        kind, segments = str(segmentation.segmentation_type.value), segmentation.number_of_segments
        if kind != "BINARY" or segments != 1:
            raise InputError(
                f"{path.name}: a binary SEG with one segment is read. Got {kind} with {segments} segments. Export one segment."
            )
        volume = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
        return from_dicom(volume, volume.array.astype(np.uint8))


def _with_type_2(dataset: pydicom.Dataset, frame_of_reference_uid: str) -> pydicom.Dataset:
    """Return a copy of a source image without its pixels, with empty type 2 attributes where they are missing.

    Args:
        dataset: Source image; it is not changed.
        frame_of_reference_uid: FrameOfReferenceUID of the copy.
    """
    header = pydicom.Dataset({element.tag: element for element in dataset if element.keyword != "PixelData"})
    header.file_meta = copy.deepcopy(dataset.file_meta)
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    header.FrameOfReferenceUID = frame_of_reference_uid
    return header


def _series_number(source: pydicom.Dataset) -> int:
    return int(source.get("SeriesNumber", 0) or 0) + 1000
