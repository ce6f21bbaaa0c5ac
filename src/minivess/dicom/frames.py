"""The border between our grids and DICOM's: (x, y, z) RAS in mm or um here, (slice, row, column) LPS in mm there."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from minivess.volume import Volume

_LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Swaps the index (x, y, z) = (column, row, slice) with (slice, row, column), and is its own inverse.
_REVERSED = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def to_dicom(volume: Volume, *, frame_of_reference_uid: str | None = None) -> hd.Volume:
    """State a volume as highdicom does; the only place where um become mm."""
    affine = _LPS_OF_RAS @ volume.in_unit("mm").affine @ _REVERSED
    return hd.Volume(
        array=np.ascontiguousarray(volume.array.transpose(2, 1, 0)),
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=frame_of_reference_uid,
    )


def from_dicom(volume: hd.Volume, array: NDArray[Any] | None = None) -> Volume:
    """State a highdicom volume as ours, in mm."""
    affine = _LPS_OF_RAS @ volume.affine @ _REVERSED
    voxels = volume.array if array is None else array
    return Volume(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine, "mm")
