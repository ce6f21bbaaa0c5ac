"""A volume cut into small equal cells, and what is known of each: the material that places are made and ranked of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.models import binary_entropy
from minivess.review.suspicion import significant_error

#: Edge of a cell; at 0.994 x 0.994 x 5 um it is 8 x 8 x 2 voxels.
CELL_UM = (8.0, 8.0, 10.0)
_SUMS = ("suspicion", "false", "missed", "entropy", "probability", "vessel", "contrast")
_PEAKS = ("suspicion", "probability", "contrast")
#: What the columns of :attr:`Cells.features` hold.
FEATURES = (
    *(f"mean {name}" for name in _SUMS),
    *(f"peak {name}" for name in _PEAKS),
    *(f"nearby {name}" for name in _SUMS),
    "depth",
)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one volume.

    Attributes:
        grid: How many cells there are along x, y, z; the last along an axis may be smaller.
        edge: Voxels along x, y, z of a cell.
        voxels: (cells,) how many voxels each has.
        voxel_um3: Volume of a voxel.
        features: (cells, features) float32, see :data:`FEATURES`.
    """

    grid: tuple[int, int, int]
    edge: tuple[int, int, int]
    voxels: NDArray[np.int64]
    voxel_um3: float
    features: NDArray[np.float32]

    def column(self, name: str) -> NDArray[np.float32]:
        """Give one feature of all cells."""
        return self.features[:, FEATURES.index(name)]

    def as_grid(self, values: NDArray[Any]) -> NDArray[Any]:
        """Lay values of the cells out along x, y, z."""
        return values.reshape(self.grid)


def cell_edge(spacing_um: tuple[float, float, float]) -> tuple[int, int, int]:
    """Say how many voxels a cell has along x, y, z."""
    x, y, z = (max(1, round(c / s)) for c, s in zip(CELL_UM, spacing_um, strict=True))
    return x, y, z


def sum_cells(
    array: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.bool_], edge: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Add up a volume within each cell.

    Returns:
        (grid x, grid y, grid z) float64.
    """
    total = np.asarray(array, np.float64)
    for axis, step in enumerate(edge):
        total = np.add.reduceat(total, np.arange(0, total.shape[axis], step), axis=axis)
    return total


def cut_in_cells(
    probability: NDArray[np.float32],
    mask: NDArray[np.bool_],
    contrast: NDArray[np.float32],
    spacing_um: tuple[float, float, float],
    *,
    suspicion: NDArray[np.float32] | None = None,
    edge: tuple[int, int, int] | None = None,
) -> Cells:
    """Describe a prediction cell by cell.

    Args:
        probability: (x, y, z) in [0, 1].
        mask: What was predicted as vessel.
        contrast: The image as the model sees it: scaled, so that cells of different volumes compare.
        spacing_um: Voxel size along x, y, z.
        suspicion: From :func:`minivess.review.suspicion.significant_error`, where it is at hand.
        edge: Voxels of a cell along x, y, z; those of :data:`CELL_UM` where not stated.
    """
    edge = edge or cell_edge(spacing_um)
    if suspicion is None:
        suspicion = significant_error(probability, mask, spacing_um)
    maps: dict[str, NDArray[np.float32]] = {
        "suspicion": suspicion,
        "false": np.where(mask, suspicion, np.float32(0)),
        "missed": np.where(mask, np.float32(0), suspicion),
        "entropy": binary_entropy(probability),
        "probability": probability,
        "vessel": mask.astype(np.float32),
        "contrast": contrast,
    }
    voxels = sum_cells(np.ones(probability.shape, bool), edge)
    means = {name: sum_cells(maps[name], edge) / voxels for name in _SUMS}
    columns = [means[name] for name in _SUMS]
    columns += [_peaks(maps[name], edge) for name in _PEAKS]
    columns += [ndimage.uniform_filter(means[name], 3) for name in _SUMS]
    columns.append(np.broadcast_to(np.linspace(0, 1, voxels.shape[2]), voxels.shape))
    x, y, z = voxels.shape
    features = np.stack([c.ravel() for c in columns], axis=1).astype(np.float32)
    return Cells((x, y, z), edge, voxels.ravel().astype(np.int64), float(np.prod(spacing_um)), features)


def _peaks(array: NDArray[np.float32], edge: tuple[int, int, int]) -> NDArray[np.float64]:
    peak = array
    for axis, step in enumerate(edge):
        peak = np.maximum.reduceat(peak, np.arange(0, peak.shape[axis], step), axis=axis)
    return peak.astype(np.float64)
