"""Enhanced multi-frame CT and MR (PS3.3, A.36 and A.38): the frames as images of a series, and references back to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from minivess.dicom.source_header import shown, text_of, whole_number
from minivess.errors import InputError

#: SOP class of a multi-frame image that is read -> that of its frames.
SINGLE_FRAME = {
    EnhancedCTImageStorage: CTImageStorage,
    LegacyConvertedEnhancedCTImageStorage: CTImageStorage,
    EnhancedMRImageStorage: MRImageStorage,
    LegacyConvertedEnhancedMRImageStorage: MRImageStorage,
}
_RESCALE = "PixelValueTransformationSequence"
#: Functional group -> what an image of one frame has of it in its header.
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    _RESCALE: ("RescaleIntercept", "RescaleSlope", "RescaleType"),
}
_NOT_OF_A_FRAME = frozenset(
    {
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "NumberOfFrames",
        "PixelData",
        "DimensionIndexSequence",
    }
)


def multiframe_of(headers: Sequence[pydicom.Dataset]) -> pydicom.Dataset | None:
    """Return the multi-frame image that a series consists of; None for a series of single-frame images.

    Raises:
        InputError: When multi-frame images are of an unsupported kind, or there is more than one image.
    """
    enhanced = [h for h in headers if whole_number(h.get("NumberOfFrames", 1)) > 1 or text_of(h, "SOPClassUID") in SINGLE_FRAME]
    if not enhanced:
        return None
    other = sorted({text_of(h, "SOPClassUID") for h in enhanced} - SINGLE_FRAME.keys())
    if other:
        allowed = ", ".join(uid.name for uid in SINGLE_FRAME)
        raise InputError(f"Multi-frame images of the kind {UID(shown(other[0])).name} are not read. Allowed: {allowed}.")
    if len(headers) > 1:
        raise InputError(
            f"The series has {len(headers)} files, {len(enhanced)} of them multi-frame (enhanced). Allowed: one file with all "
            "frames. Put each image in a folder of its own, or export the series as single-frame images."
        )
    parts = whole_number(enhanced[0].get("InConcatenationTotalNumber"))
    if parts > 1 or (parts == 0 and text_of(enhanced[0], "ConcatenationUID")):
        of = parts or "several"
        raise InputError(f"The image is one part of a concatenation of {of}: the others are missing. Export it whole.")
    return enhanced[0]


def split_frames(image: pydicom.Dataset, pixels: NDArray[Any] | None = None) -> list[pydicom.Dataset]:
    """Return the frames of a multi-frame image as images of one frame each, in the order of the file.

    InstanceNumber is the number of the frame, from 1; SOPInstanceUID is that of the file.

    Args:
        image: An image of a kind in :data:`SINGLE_FRAME`.
        pixels: Its decoded frames (frame, row, column); without them the images have no pixels.

    Raises:
        InputError: When the functional groups do not belong to the frames.
    """
    per_frame = image.get("PerFrameFunctionalGroupsSequence") or []
    count = whole_number(image.get("NumberOfFrames", 1))
    if len(per_frame) != count:
        stated = count if image.get("NumberOfFrames") else "missing"
        raise InputError(f"NumberOfFrames is {stated}, but {len(per_frame)} frames are described. Export the image again.")
    shared = (image.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    rescaled = sum(bool(groups.get(_RESCALE) or shared.get(_RESCALE)) for groups in per_frame)
    if rescaled not in (0, count):
        raise InputError(f"{rescaled} of {count} frames state a {_RESCALE}, the others do not. Export the image again.")
    common = pydicom.Dataset()
    common.update({e.tag: e for e in image if e.keyword not in _NOT_OF_A_FRAME})
    common.add_new("SOPClassUID", "UI", SINGLE_FRAME[image.SOPClassUID])  # add_new: the elements are those of the image
    frames = []
    for number, groups in enumerate(per_frame, 1):
        frame = pydicom.Dataset()
        frame.update(common)
        frame.add_new("InstanceNumber", "IS", number)
        for name, keywords in _GROUPS.items():
            group = (groups.get(name) or shared.get(name) or [pydicom.Dataset()])[0]
            frame.update({group[keyword].tag: group[keyword] for keyword in keywords if keyword in group})
        frame.file_meta = FileMetaDataset()
        frame.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if pixels is not None:
            _set_pixels(frame, pixels[number - 1])
        frames.append(frame)
    return frames


def join_frames(headers: Sequence[pydicom.Dataset], image: pydicom.Dataset) -> pydicom.Dataset:
    """Return the header of a multi-frame image for derived objects: what all frames share, and where each frame lies.

    Args:
        headers: Of all its frames, in the order of the file.
        image: The image.
    """
    first = headers[0]
    joined = pydicom.Dataset()
    joined.update({e.tag: e for e in first if e.keyword not in {k for keywords in _GROUPS.values() for k in keywords}})
    joined.add_new("SOPClassUID", "UI", image.SOPClassUID)
    joined.NumberOfFrames = len(headers)
    joined.file_meta = first.file_meta
    shared = pydicom.Dataset()
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        shared[name] = pydicom.DataElement(name, "SQ", [_subset(first, _GROUPS[name])])
    joined.SharedFunctionalGroupsSequence = [shared]
    joined.PerFrameFunctionalGroupsSequence = []
    for header in headers:
        groups = pydicom.Dataset()
        groups.PlanePositionSequence = [_subset(header, _GROUPS["PlanePositionSequence"])]
        joined.PerFrameFunctionalGroupsSequence.append(groups)
    return joined


def _set_pixels(frame: pydicom.Dataset, pixels: NDArray[Any]) -> None:
    kind, bits = frame.PhotometricInterpretation, int(frame.BitsStored)
    frame.set_pixel_data(np.ascontiguousarray(pixels), kind, bits, generate_instance_uid=False)


def _subset(dataset: pydicom.Dataset, keywords: Sequence[str]) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.update({dataset[keyword].tag: dataset[keyword] for keyword in keywords if keyword in dataset})
    return item
