"""Write the uncertainty of each voxel as a DICOM Parametric Map (PS3.3, A.75)."""

from __future__ import annotations

import math
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom

from minivess.dicom.derived import NOTICE, Derivation
from minivess.dicom.seg import BLOOD_VESSEL
from minivess.errors import GeometryError
from minivess.paths import atomic_file
from minivess.volume import Volume

_WINDOW = hd.VOILUTTransformation(
    window_center=math.log(2) / 2, window_width=math.log(2), voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT
)
_NATS = hd.sr.CodedConcept("1", "UCUM", "no units")
_UNCERTAINTY = hd.sr.CodedConcept("VesselEntropy", "99MINIVESS", "Binary entropy of the probability of vessel")


def write_uncertainty_map(uncertainty: Volume, derivation: Derivation, path: Path) -> Path:
    """Write an uncertainty map on the grid of a series.

    Args:
        uncertainty: Volume on the grid of the series, float32 nats in [0, ln 2].
        derivation: Of the mask that belongs to it.
        path: File to write.

    Returns:
        The path.

    Raises:
        GeometryError: When the map is not on the grid of the series.
        OutputError: When the file cannot be written.
    """
    if not uncertainty.same_grid(derivation.series.volume):
        raise GeometryError("The uncertainty map is not on the grid of the series. Give that of a prediction of the series.")
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="UNCERTAINTY",
        lut_explanation="Binary entropy of the probability, in nats",
        unit=_NATS,
        value_range=(0.0, math.log(2)),
        slope=1,
        intercept=0,
        quantity_definition=_UNCERTAINTY,
    )
    frames = derivation.frames(uncertainty.array.astype(np.float32))
    result = hd.pm.ParametricMap(
        source_images=derivation.sources,
        pixel_array=frames,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[_WINDOW],
        content_label="UNCERTAINTY",
        content_description=f"Uncertainty of vessels: {NOTICE}",
        pixel_measures=derivation.pixel_measures(),
        series_description=f"Uncertainty of vessels ({NOTICE})",
        **derivation.instance("uncertainty", 1001, about=derivation.hash_of(frames)),
    )
    result.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_frame_anatomy()]
    _sort_frames(result)
    derivation.finish(result, "uncertainty")
    with atomic_file(path) as temporary:
        result.save_as(temporary, enforce_file_format=True)
    return path


def _sort_frames(dataset: pydicom.Dataset) -> None:
    """Sort frames along the normal of their planes: 3D Slicer's reader (dcmqi 1.5) assumes that order."""
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(*np.reshape([float(v) for v in orientation], (2, 3)))
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    order = np.argsort([normal @ [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient] for group in groups])
    frames = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(len(groups), -1)
    dataset.FloatPixelData = frames[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [groups[i] for i in order]


def _frame_anatomy() -> pydicom.Dataset:
    """Return the anatomy of all frames; 3D Slicer's reader (dcmqi 1.5) ends in a crash without it."""
    anatomy = pydicom.Dataset()
    anatomy.FrameLaterality = "U"  # of no side
    anatomy.AnatomicRegionSequence = [BLOOD_VESSEL]
    return anatomy
