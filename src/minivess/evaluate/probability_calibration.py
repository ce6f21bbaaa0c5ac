"""How far stated probabilities are from observed frequencies, over a whole volume and near the surface of the vessels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

_BINS = 15
#: The band about the reference's surface that is "near": background makes any error look small.
NEAR_SURFACE_UM = 5.0


@dataclass(frozen=True)
class CalibrationErrors:
    """Expected calibration errors of one case.

    Attributes:
        ece: Over all voxels, in [0, 1].
        ece_near_surface: Over the voxels within 5 um of the reference's surface, or the nearest ones; NaN without a surface.
        brier: Mean squared error of the probability.
    """

    ece: float
    ece_near_surface: float
    brier: float

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)


def calibration_errors(
    probability: NDArray[np.float32], reference: NDArray[np.bool_], spacing_um: tuple[float, float, float]
) -> CalibrationErrors:
    """Compute calibration errors.

    Args:
        probability: (x, y, z) float32, in [0, 1].
        reference: (x, y, z) bool mask.
        spacing_um: Voxel size along x, y, z in um.
    """
    near = np.zeros(reference.shape, bool)
    if reference.any() and not reference.all():
        limit = max(NEAR_SURFACE_UM, max(spacing_um))
        inside, outside = (edt.edt(np.ascontiguousarray(m), anisotropy=spacing_um, parallel=1) for m in (reference, ~reference))
        near = np.maximum(inside, outside) <= limit
    return CalibrationErrors(
        ece=expected_calibration_error(probability, reference),
        ece_near_surface=expected_calibration_error(probability[near], reference[near]),
        brier=float(np.mean((probability - reference) ** 2)),
    )


def expected_calibration_error(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """Compute the expected calibration error with 15 bins of equal width (Guo et al. 2017); NaN without values.

    Args:
        probability: Any shape, in [0, 1].
        truth: Bool, of the same shape.

    Example:
        >>> round(expected_calibration_error(np.array([0.9, 0.9], np.float32), np.array([True, False])), 2)
        0.4
    """
    if not probability.size:
        return float("nan")
    bins = np.minimum((probability.ravel() * _BINS).astype(np.int64), _BINS - 1)
    stated = np.bincount(bins, weights=probability.ravel(), minlength=_BINS)
    observed = np.bincount(bins, weights=truth.ravel(), minlength=_BINS)
    return float(np.abs(stated - observed).sum() / probability.size)
