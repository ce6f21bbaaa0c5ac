"""Lower the probability of small loose pieces: noise in dim slices makes thousands of them, vessels are long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from minivess.errors import BundleError
from minivess.models.threshold import RANGE


def suppress_small_pieces(
    probability: NDArray[np.float32], min_mass: float, *, cut_faces: Iterable[tuple[int, int]] = ()
) -> NDArray[np.float32]:
    """Lower the probability of pieces for which there is little evidence, in place.

    A piece is what is connected (26 neighbours) at the lowest threshold that a mask may have. Its evidence is its mass, the sum
    of its probabilities: many voxels, or few that are certain. A piece below the mass is lowered in proportion to what it has,
    and below every threshold, so that the mask, the uncertainty and the expected errors agree about it.

    Args:
        probability: (x, y, z) float32, in [0, 1].
        min_mass: Smallest mass of a piece that stays, in voxels; 0 for none.
        cut_faces: Faces of a box that was cut out of a volume, as (axis, 0 or -1). Pieces that touch them stay, since they may
            go on outside.

    Returns:
        The same array.

    Example:
        >>> probability = np.zeros((9, 9, 1), np.float32)
        >>> probability[0, :, 0], probability[5, 5, 0] = 0.9, 0.9
        >>> lowered = suppress_small_pieces(probability, 4.0)
        >>> float(lowered[0, 0, 0]).__round__(2), float(lowered[5, 5, 0]).__round__(2)
        (0.9, 0.06)
    """
    level = np.float32(RANGE[0])
    if min_mass <= 0 or not (probability >= level).any():
        return probability
    pieces, count = cc3d.connected_components(probability >= level, connectivity=26, return_N=True)
    mass = np.zeros(count + 1)
    for labels, values in zip(pieces, probability, strict=True):  # plane by plane, to bound memory
        mass += np.bincount(labels.ravel(), weights=values.ravel(), minlength=count + 1)
    factor = np.where(mass < min_mass, 0.95 * RANGE[0] * mass / min_mass, 1.0).astype(np.float32)
    factor[0] = 1.0
    for axis, side in cut_faces:
        factor[np.unique(pieces.take(side, axis=axis))] = 1.0
    for labels, values in zip(pieces, probability, strict=True):
        values *= factor[labels]
    return probability


def check_min_mass(value: Any) -> float:
    """Check the ``min_piece_mass`` of a bundle.

    Raises:
        BundleError: When it is not a number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise BundleError(f"min_piece_mass is {value!r}. Allowed: a number of voxels, 0 for none.")
    return float(value)
