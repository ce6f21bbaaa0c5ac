"""Convert between our grids, (x, y, z) RAS in mm or um, and those of DICOM, (slice, row, column) LPS in mm."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from minivess.volume import Volume

#: Converts RAS to LPS, and is its own inverse.
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Converts an index (x, y, z) = (column, row, slice) to (slice, row, column), and is its own inverse.
_REVERSED = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def to_dicom(volume: Volume) -> hd.Volume:
    """Convert a volume in mm or um to a highdicom volume in mm.

    Returns:
        Array with axes (slice, row, column), affine in LPS and mm.

    Example:
        >>> volume = Volume(np.zeros((4, 3, 2), np.uint8), np.diag([0.5, 0.5, 2.0, 1.0]), "um")
        >>> to_dicom(volume).spatial_shape
        (2, 3, 4)
        >>> from_dicom(to_dicom(volume)).same_grid(volume)
        True
    """
    affine = _LPS_FROM_RAS @ volume.in_unit("mm").affine @ _REVERSED
    return hd.Volume(
        array=np.ascontiguousarray(volume.array.transpose(2, 1, 0)),
        affine=affine,
        coordinate_system="PATIENT",
    )


def from_dicom(volume: hd.Volume, array: NDArray[Any] | None = None) -> Volume:
    """Convert a highdicom volume to a volume in mm.

    Args:
        volume: Array with axes (slice, row, column), affine in LPS and mm.
        array: Other voxels on the same grid, with the same axes; those of ``volume`` by default.

    Returns:
        Volume with axes (x, y, z), affine in RAS and mm.
    """
    affine = _LPS_FROM_RAS @ volume.affine @ _REVERSED
    voxels = volume.array if array is None else array
    return Volume(np.ascontiguousarray(voxels.transpose(2, 1, 0)), affine, "mm")
