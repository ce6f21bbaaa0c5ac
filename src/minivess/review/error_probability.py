"""Estimate where a prediction is wrong by more than the outline of a vessel."""

from __future__ import annotations

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: An outline that is wrong by less than this is not an error worth a look.
TOLERANCE_UM = 2.0
#: Standard deviation of the Gaussian that removes the noise of single voxels.
SMOOTHING_UM = 1.5


def estimate_error_probability(
    probability: NDArray[np.float32], mask: NDArray[np.bool_], spacing_um: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Estimate, for each voxel, the probability of an error that no voxel within :data:`TOLERANCE_UM` explains.

    A voxel of the mask is a false positive when there is no vessel within the tolerance: 1 - the highest probability there. A
    voxel farther than the tolerance from the mask is a false negative with its own probability. Voxels in between are outline: 0.
    The probability is smoothed first, so that a thin structure counts as less certain than the middle of a vessel. On two-photon
    stacks this ranks the errors that matter before the uncertain outlines of large vessels; entropy does not.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        mask: (x, y, z) bool, predicted vessel.
        spacing_um: Voxel size along x, y, z.

    Returns:
        (x, y, z) float32 in [0, 1].
    """
    spacing = np.asarray(spacing_um)
    # Slices of a stack are farther apart than the tolerance: half a voxel of smoothing connects a slice with its neighbours.
    smooth = ndimage.gaussian_filter(probability, np.maximum(SMOOTHING_UM / spacing, 0.5), truncate=3.0)
    nearby = ndimage.maximum_filter(smooth, footprint=_ball(TOLERANCE_UM, spacing))
    away = edt.edt(np.ascontiguousarray(~mask), anisotropy=tuple(spacing_um), black_border=False) > TOLERANCE_UM
    return np.where(mask, 1 - nearby, np.where(away, smooth, 0)).astype(np.float32, copy=False)


def _ball(radius_um: float, spacing_um: NDArray[np.float64]) -> NDArray[np.bool_]:
    reach = [int(radius_um // step) for step in spacing_um]
    offsets = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    square = sum((o * s) ** 2 for o, s in zip(offsets, spacing_um, strict=True))
    return np.asarray(square <= radius_um**2)
