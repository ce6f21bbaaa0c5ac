"""Where is a prediction likely to be wrong by more than its outline?"""

from __future__ import annotations

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: An outline that is off by less is not an error that a person should be sent to.
TOLERANCE_UM = 2.0
#: Single voxels are noise: what they say is averaged over about this distance.
SMOOTHING_UM = 1.5


def significant_error(
    probability: NDArray[np.float32], mask: NDArray[np.bool_], spacing_um: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Estimate, for each voxel, the probability that it is wrong and no voxel within :data:`TOLERANCE_UM` excuses it.

    A voxel of the mask is a false one when there is no vessel within the tolerance: 1 - the highest probability there. A voxel
    farther than the tolerance from the mask is a missed one with its own probability. What lies between is outline: 0. The
    probabilities are smoothed first, so that a sliver counts as less sure than the middle of a vessel. On two-photon stacks
    this puts errors that matter before the uncertain outlines of large vessels, where entropy does not.

    Args:
        probability: (x, y, z) in [0, 1].
        mask: What was predicted as vessel, on the same grid.
        spacing_um: Voxel size along x, y, z.

    Returns:
        (x, y, z) float32 in [0, 1].
    """
    spacing = np.asarray(spacing_um)
    # A slice of a stack lies farther off than the tolerance: half a voxel of smoothing ties it to its neighbours.
    smooth = ndimage.gaussian_filter(probability, np.maximum(SMOOTHING_UM / spacing, 0.5), truncate=3.0)
    nearby = ndimage.maximum_filter(smooth, footprint=_ball(TOLERANCE_UM, spacing))
    away = edt.edt(np.ascontiguousarray(~mask), anisotropy=tuple(spacing_um), black_border=False) > TOLERANCE_UM
    return np.where(mask, 1 - nearby, np.where(away, smooth, 0)).astype(np.float32, copy=False)


def _ball(radius_um: float, spacing_um: NDArray[np.float64]) -> NDArray[np.bool_]:
    reach = [int(radius_um // s) for s in spacing_um]
    offsets = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    square = sum((o * s) ** 2 for o, s in zip(offsets, spacing_um, strict=True))
    return np.asarray(square <= radius_um**2)
