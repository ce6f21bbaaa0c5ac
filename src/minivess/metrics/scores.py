"""Compute all scores of a predicted mask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from minivess.metrics.betti import betti_numbers
from minivess.metrics.centreline import cldice
from minivess.metrics.masks import as_pair
from minivess.metrics.overlap import dsc
from minivess.metrics.surface import surface_distances


@dataclass(frozen=True)
class MaskScores:
    """Scores of a predicted mask against a reference; names as in MetricsReloaded.

    Attributes:
        dsc: Dice similarity coefficient, in [0, 1].
        cldice: Centre-line Dice, in [0, 1].
        nsd: Normalised surface distance at ``tolerance_um``, in [0, 1].
        hd95_um: 95th percentile Hausdorff distance in um; NaN when exactly one mask is empty.
        masd_um: Mean average surface distance in um; NaN when exactly one mask is empty.
        assd_um: Average symmetric surface distance in um; NaN when exactly one mask is empty.
        b0_error: Absolute difference in the number of components.
        b1_error: Absolute difference in the number of loops.
        tolerance_um: Tolerance of ``nsd`` in um.
    """

    dsc: float
    cldice: float
    nsd: float
    hd95_um: float
    masd_um: float
    assd_um: float
    b0_error: int
    b1_error: int
    tolerance_um: float

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain numbers; a NaN becomes None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def compare_masks(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing_um: tuple[float, float, float],
    *,
    tolerance_um: float | None = None,
) -> MaskScores:
    """Compute all scores of a predicted mask against a reference.

    Args:
        reference: (x, y, z) mask.
        prediction: (x, y, z) mask on the same grid.
        spacing_um: Voxel size along x, y, z in um.
        tolerance_um: Tolerance of NSD in um; by default the largest voxel edge, the uncertainty of a manually drawn border.

    Raises:
        InputError: When the arrays are not two masks of one shape, or the spacing is not positive.

    Example:
        >>> import numpy as np
        >>> reference = np.zeros((8, 8, 4), bool)
        >>> reference[1:7, 3:5, 1:3] = True
        >>> scores = compare_masks(reference, np.roll(reference, 1, axis=0), (1.0, 1.0, 5.0))
        >>> scores.b0_error, scores.nsd
        (0, 1.0)
        >>> round(scores.dsc, 3)
        0.833
    """
    a, b = as_pair(reference, prediction)
    tolerance = max(spacing_um) if tolerance_um is None else tolerance_um
    with ThreadPoolExecutor(1) as pool:  # the longest first; most of all this releases the interpreter
        centreline_dice = pool.submit(cldice, a, b)
        distances = surface_distances(a, b, spacing_um, tolerance=tolerance)
        betti_a, betti_b = betti_numbers(a), betti_numbers(b)
    return MaskScores(
        dsc=dsc(a, b),
        cldice=centreline_dice.result(),
        nsd=distances.nsd,
        hd95_um=distances.hd95,
        masd_um=distances.masd,
        assd_um=distances.assd,
        b0_error=abs(betti_a[0] - betti_b[0]),
        b1_error=abs(betti_a[1] - betti_b[1]),
        tolerance_um=tolerance,
    )
