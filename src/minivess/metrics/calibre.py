"""Length recall and precision of vessels by calibre class, in um of centre-line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from minivess.metrics.centreline import centreline_lengths
from minivess.metrics.masks import Mask, as_pair, fill_cavities

#: Upper limits of the diameter of the classes, in um: capillaries, arterioles and venules, larger vessels. A diameter is twice
#: the distance to the centre of the nearest background voxel, up to a voxel too large: at 1 um 8 um may be `small`.
CLASSES_UM = {"capillary": 8.0, "small": 20.0, "large": float("inf")}


@dataclass(frozen=True)
class CalibreScores:
    """Scores of one calibre class.

    Attributes:
        calibre: Name of the class.
        reference_um: Length of the reference's centre-line in this class.
        predicted_um: Length of the prediction's centre-line in this class.
        recall: Share of the reference's length inside the prediction, in [0, 1]; None without any length.
        precision: Share of the prediction's length inside the reference, in [0, 1]; None without any length.
    """

    calibre: str
    reference_um: float
    predicted_um: float
    recall: float | None
    precision: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the scores by name."""
        return asdict(self)


def length_by_calibre(
    reference: NDArray[Any], prediction: NDArray[Any], spacing_um: tuple[float, float, float]
) -> list[CalibreScores]:
    """Compute how much of the vessels' length was found, and how much of what was found is true, by calibre class.

    The class of a piece of centre-line is that of its own mask: of the reference for recall, of the prediction for precision.
    Cavities are filled.

    Args:
        reference: (x, y, z) mask.
        prediction: (x, y, z) mask.
        spacing_um: Voxel size along x, y, z in um.

    Raises:
        InputError: When the arrays are not two masks of one shape.

    Example:
        >>> tube = np.zeros((20, 9, 9), bool)
        >>> tube[:, 3:6, 3:6] = True
        >>> half = tube.copy()
        >>> half[10:] = False
        >>> [(s.calibre, s.recall, s.precision) for s in length_by_calibre(tube, half, (1.0, 1.0, 1.0))][0]
        ('capillary', 0.5, 1.0)
    """
    a, b = map(fill_cavities, as_pair(reference, prediction))
    wanted, found = _lengths(a, b, spacing_um), _lengths(b, a, spacing_um)
    return [
        CalibreScores(name, total, predicted, _share(inside, total), _share(true, predicted))
        for name, (inside, total), (true, predicted) in zip(CLASSES_UM, wanted, found, strict=True)
    ]


def _lengths(mask: Mask, other: Mask, spacing_um: Sequence[float]) -> list[tuple[float, float]]:
    """Return, for each class, the length of a mask's centre-line inside another mask, and its whole length."""
    points, lengths_um = centreline_lengths(mask, (spacing_um[0], spacing_um[1], spacing_um[2]))
    if not len(points):
        return [(0.0, 0.0)] * len(CLASSES_UM)
    where = tuple(points.T)
    diameter_um = 2 * edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(spacing_um), parallel=1)[where]
    inside = other[where]
    lower, rows = 0.0, []
    for upper in CLASSES_UM.values():
        chosen = (diameter_um > lower) & (diameter_um <= upper)
        rows.append((float(lengths_um[chosen & inside].sum()), float(lengths_um[chosen].sum())))
        lower = upper
    return rows


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 12) if whole else None
