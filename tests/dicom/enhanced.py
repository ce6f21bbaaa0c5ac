"""Make enhanced multi-frame images of a series, as scanners write them: frames in any order, groups shared or of each frame."""

from __future__ import annotations

import copy
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.uid import UID, EnhancedMRImageStorage


def make_enhanced(series: Path, folder: Path, *, kind: UID = EnhancedMRImageStorage, shared: bool = True) -> Path:
    """Write all images of a series as one multi-frame image with its frames in a mixed order."""
    legacy = [pydicom.dcmread(file) for file in series.iterdir()]
    image = hd.legacy.LegacyConvertedEnhancedMRImage(
        legacy_datasets=legacy,
        series_instance_uid=legacy[0].SeriesInstanceUID,
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
    )
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = kind
    order = np.random.default_rng(2).permutation(len(legacy))
    frames = image.pixel_array[order]
    groups = [image.PerFrameFunctionalGroupsSequence[i] for i in order]
    if not shared:
        for name in ("PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"):
            for group in groups:
                group[name] = copy.deepcopy(image.SharedFunctionalGroupsSequence[0][name])
            del image.SharedFunctionalGroupsSequence[0][name]
    image.PerFrameFunctionalGroupsSequence = groups
    image.PixelData = frames.tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    image.save_as(folder / "enhanced.dcm", enforce_file_format=True)
    return folder
