"""What an answered place teaches: the features of its cells, and which errors were mended there."""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from minivess.review.cells import Cells, sum_cells
from minivess.review.findings import SPECK_UM3
from minivess.review.ranker import Answers
from minivess.review.region import Box
from minivess.review.suspicion import TOLERANCE_UM


def lesson_of(
    cells: Cells,
    box: Box,
    shown: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    spacing_um: tuple[float, float, float],
) -> Answers:
    """Compare what was shown in a place with what was accepted there.

    Args:
        cells: Of the whole volume, as the place was proposed from.
        box: The place, in voxels.
        shown: (x, y, z) the prediction's mask within the box.
        accepted: The same after the person's work.
        spacing_um: Voxel size along x, y, z.
    """
    low = np.array(box[::2]) // cells.edge
    high = -(-np.array(box[1::2]) // cells.edge)
    start, stop = low * cells.edge, np.minimum(high * cells.edge, np.array(box[::2]) + shown.shape)
    window = np.zeros(stop - start, np.float64)
    inner = tuple(slice(b - s, b - s + n) for b, s, n in zip(box[::2], start, shown.shape, strict=True))
    window[inner] = _errors(shown, accepted, spacing_um)
    errors = sum_cells(window, cells.edge).ravel()
    index = np.ravel_multi_index(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), cells.grid
    ).ravel()
    nowhere = np.zeros(len(index), np.int64)
    return Answers(cells.features[index], errors, nowhere, nowhere)


def _errors(shown: NDArray[np.bool_], accepted: NDArray[np.bool_], spacing_um: tuple[float, float, float]) -> NDArray[np.float64]:
    """Spread each significant error over its voxels, so that it adds up to 1."""
    far = [
        edt.edt(np.ascontiguousarray(~other), anisotropy=spacing_um, black_border=False) > TOLERANCE_UM
        for other in (shown, accepted)
    ]
    wrong = (accepted & far[0]) | (shown & far[1])
    pieces = cc3d.connected_components(wrong, connectivity=26)
    size = np.bincount(pieces.ravel()).astype(np.float64)
    weight = np.where(size * np.prod(spacing_um) >= SPECK_UM3, 1 / np.maximum(size, 1), 0)
    weight[0] = 0
    return np.asarray(weight[pieces])
