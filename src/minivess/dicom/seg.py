"""Write a vessel mask as DICOM SEG, and read a SEG as a mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from minivess.dicom.damaged import damaged_dicom
from minivess.dicom.derived import NOTICE, Derivation
from minivess.dicom.frames import from_dicom
from minivess.dicom.series import Series
from minivess.errors import GeometryError, InputError
from minivess.paths import atomic_file
from minivess.volume import Volume

if TYPE_CHECKING:  # a refusal of a series must not wait for torch
    from minivess.models import ModelRef

SegKind = Literal["BINARY", "LABELMAP", "FRACTIONAL"]
#: Colour of the segment, CIELab as scaled integers (PS3.3, C.10.7.1.1): a red that is told from grey by everybody.
_COLOUR = hd.color.CIELabColor(l_star=53.0, a_star=80.0, b_star=67.0)
BLOOD_VESSEL = hd.sr.CodedConcept("59820001", "SCT", "Blood vessel")


def write_seg(
    mask: Volume,
    series: Series,
    model: ModelRef | None,
    path: Path,
    *,
    threshold: float | None = None,
    kind: SegKind = "BINARY",
    probability: Volume | None = None,
) -> Path:
    """Write a mask on the grid of a series as a DICOM SEG with one segment, blood vessel (SCT 59820001).

    Each frame lies exactly at its source image, and refers to it, so that a viewer finds it however the positions are rounded.
    Patient and study are those of the source. An empty mask gives a valid SEG whose frames are all empty, with the
    SeriesDescription "Vessels: no finding". The UIDs are derived from sources, voxels, model and threshold: the same UID is the
    same content.

    Args:
        mask: Volume on the grid of the series; a value above 0 is vessel.
        series: Segmented series.
        model: Model that made the mask; name, version and hash of the weights become the algorithm identification. None when
            an annotator drew or accepted the mask: the segment is then of the type MANUAL.
        path: File to write.
        threshold: Probability from which the model's voxels count as vessel.
        kind: ``BINARY``; ``LABELMAP``, which newer viewers read, compressed; or ``FRACTIONAL``: the probability in 255 steps.
        probability: float32 in [0, 1] on the grid of the series, for ``FRACTIONAL``.

    Returns:
        The path.

    Raises:
        InputError: When a FRACTIONAL SEG comes without probability.
        GeometryError: When the mask is not on the grid of the series.
        OutputError: When the file cannot be written.
    """
    if not mask.same_grid(series.volume):
        raise GeometryError(
            f"The mask {mask.shape} is not on the grid of the series {series.volume.shape}. Segment the series itself, "
            "or resample the mask to its grid (order 0)."
        )
    if kind == "FRACTIONAL" and probability is None:
        raise InputError("A FRACTIONAL SEG is of the probability: give it.")
    derivation = Derivation.of(mask.array, series, model, threshold)
    voxels = (mask.array > 0).astype(np.uint8)
    content = probability.array if kind == "FRACTIONAL" and probability is not None else voxels
    segmentation = _segmentation(content, derivation, kind, has_vessels=bool(voxels.any()))
    derivation.finish(segmentation, "segmentation")
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary, enforce_file_format=True)
    return path


def _segmentation(content: NDArray[Any], derivation: Derivation, kind: SegKind, *, has_vessels: bool) -> hd.seg.Segmentation:
    """Build the SEG of voxels or probabilities (x, y, z) on the grid of the series."""
    automatic, compressed = derivation.model is not None, kind != "BINARY"  # viewers read BINARY as it is everywhere
    frames = derivation.frames(content)
    about = derivation.hash_of(frames) if kind == "FRACTIONAL" else ""
    description = "Vessels" if has_vessels else "Vessels: no finding"
    return hd.seg.Segmentation(
        source_images=derivation.sources,
        pixel_array=frames,
        segmentation_type=kind,
        segment_descriptions=[_segment_description(derivation)],
        pixel_measures=derivation.pixel_measures(),
        **derivation.instance("segmentation" if kind == "BINARY" else f"segmentation {kind}", 1000, about=about),
        series_description=f"{description} ({NOTICE})" if automatic else description,
        content_label="VESSELS",
        content_description=f"Automatic vessels: {NOTICE}" if automatic else "Accepted segmentation of blood vessels",
        omit_empty_frames=has_vessels and not compressed,
        transfer_syntax_uid=RLELossless if compressed else ExplicitVRLittleEndian,
        max_fractional_value=255,
    )


def _segment_description(derivation: Derivation) -> hd.seg.SegmentDescription:
    types = hd.seg.SegmentAlgorithmTypeValues
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="vessel",
        segmented_property_category=codes.SCT.BodyStructure,
        segmented_property_type=BLOOD_VESSEL,
        algorithm_type=types.AUTOMATIC if derivation.model is not None else types.MANUAL,
        algorithm_identification=derivation.algorithm(),
        tracking_uid=derivation.uid("tracking"),
        tracking_id="vessel",
        display_color=_COLOUR,
    )


def read_seg(path: Path) -> Volume:
    """Read a BINARY or LABELMAP SEG with one segment as a uint8 volume in mm, 0 and 1.

    The volume contains the slices from the first to the last frame of the file; slices without a frame between them are
    empty.

    Raises:
        InputError: When the file is not a SEG, is FRACTIONAL, has several segments, or cannot be read as one volume.
    """
    with damaged_dicom(path.name):
        segmentation = hd.seg.segread(path)
        kind, segments = str(segmentation.segmentation_type.value), len(segmentation.segment_numbers)
        if kind == "FRACTIONAL" or segments != 1:
            raise InputError(
                f"{path.name}: a BINARY or LABELMAP SEG with one segment is read. Got {kind} with {segments} segments. "
                "Export one segment."
            )
        volume = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
        return from_dicom(volume, volume.array.astype(np.uint8))
