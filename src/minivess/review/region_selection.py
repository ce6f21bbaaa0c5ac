"""Select review regions: greedily place boxes where most errors are expected and nothing was reviewed yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minivess.review.analysis import PredictionAnalysis
from minivess.review.blocks import BlockFeatures, sum_blocks
from minivess.review.suspected_errors import suspected_errors
from minivess.store.region import Region, RegionKind
from minivess.volume import Box

#: ``"mass"`` maximises expected errors per decision, ``"density"`` expected errors per reviewed volume.
Objective = Literal["mass", "density"]
#: Size of a region (x, y, z) in um, for each objective.
REGION_SIZE_UM = {"mass": (64.0, 64.0, 20.0), "density": (32.0, 32.0, 10.0)}
#: Seconds to look at a region, and to correct one error in it: estimates, not measured on people.
LOOK_S, CORRECT_S = 4.0, 8.0
#: A region with fewer expected errors is not proposed.
MIN_EXPECTED_ERRORS = 0.02


def select_boxes(
    blocks: BlockFeatures,
    score: NDArray[np.float64],
    spacing_um: tuple[float, float, float],
    *,
    count: int,
    objective: Objective = "mass",
    reviewed: NDArray[np.bool_] | None = None,
) -> list[tuple[Box, float]]:
    """Place boxes one after the other where the sum of the remaining scores is highest.

    Args:
        blocks: Blocks of the volume.
        score: (blocks,) float64, expected errors of each.
        spacing_um: Voxel size along x, y, z.
        count: Number of boxes at most.
        objective: Determines the size of the boxes, see :data:`REGION_SIZE_UM`.
        reviewed: (grid x, grid y, grid z) bool, blocks that were reviewed already.

    Returns:
        Boxes in blocks with their expected errors, the highest first. At least half of each box is new.
    """
    seen = np.zeros(blocks.grid, bool) if reviewed is None else reviewed.copy()
    left = np.where(seen, 0.0, blocks.to_grid(np.maximum(score, 0)))
    size = region_size(blocks, spacing_um, objective)
    boxes: list[tuple[Box, float]] = []
    while len(boxes) < count:
        sums = _window_sums(left, size)
        start = [int(i) for i in np.unravel_index(int(sums.argmax()), sums.shape)]
        expected = float(sums[tuple(start)])
        if expected < MIN_EXPECTED_ERRORS:
            break
        window = Box.from_corners(start, np.add(start, size))
        new = ~seen[window.slices]
        part = Box.around(new)
        if part is not None and float(new[part.slices].mean()) >= 0.5:
            boxes.append((part.shifted(window.low), expected))
            seen[window.slices] = True
        left[window.slices] = 0
    return boxes


def reviewed_blocks(boxes: Iterable[Box], blocks: BlockFeatures, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return which blocks are, by more than half, inside of boxes.

    Args:
        boxes: In voxels.
        blocks: The blocks.
        shape: Shape (x, y, z) of the volume in voxels.

    Returns:
        (grid x, grid y, grid z) bool.
    """
    seen = np.zeros(shape, bool)
    for box in boxes:
        seen[box.slices] = True
    return np.asarray(sum_blocks(seen, blocks.block_shape) > blocks.to_grid(blocks.voxels) / 2)


def region_size(
    blocks: BlockFeatures, spacing_um: tuple[float, float, float], objective: Objective = "mass"
) -> tuple[int, int, int]:
    """Return the size (x, y, z) of a region in blocks.

    Args:
        blocks: Blocks of the volume.
        spacing_um: Voxel size along x, y, z.
        objective: See :data:`REGION_SIZE_UM`.
    """
    edges_um = np.asarray(blocks.block_shape) * np.asarray(spacing_um)
    x, y, z = (max(1, min(n, round(g / e))) for g, e, n in zip(REGION_SIZE_UM[objective], edges_um, blocks.grid, strict=True))
    return x, y, z


def blocks_to_voxels(box: Box, blocks: BlockFeatures, shape: tuple[int, int, int]) -> Box:
    """Convert a box of blocks to a box of voxels.

    Args:
        box: In blocks.
        blocks: The blocks.
        shape: Shape (x, y, z) of the volume in voxels.
    """
    return Box.from_corners(
        np.multiply(box.low, blocks.block_shape), np.minimum(np.multiply(box.high, blocks.block_shape), shape)
    )


def describe_region(box: Box, errors: float, analysis: PredictionAnalysis) -> Region:
    """Build the region of a box: its most likely error, its centre and its cost.

    Args:
        box: In voxels.
        errors: Expected errors inside.
        analysis: Analysis of the prediction for the whole volume.
    """
    low, high = np.array(box.low), np.array(box.high)
    suspected = suspected_errors(analysis, box)
    kind: RegionKind = "boundary"
    centre, reason = (low + high - 1) / 2, "the model is uncertain here"
    if suspected:
        kind, reason, centre = suspected[0].kind, suspected[0].description, suspected[0].centre
        reason += f"; and {len(suspected) - 1} more" if len(suspected) > 1 else ""
    affine = analysis.volume.affine
    corners = np.concatenate([(affine @ [*corner, 1.0])[:3] for corner in (low - 0.5, high - 0.5)])
    return Region(
        centre_ras=_as_point((affine @ [*centre, 1.0])[:3]),
        box=box,
        box_ras=(*_as_point(corners[:3]), *_as_point(corners[3:])),
        kind=kind,
        expected_errors=errors,
        expected_voxels=float(analysis.error_probability[box.slices].sum(dtype=np.float64)),
        cost_s=LOOK_S + CORRECT_S * errors,
        reason=reason,
    )


def _as_point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _window_sums(values: NDArray[np.float64], size: Sequence[int]) -> NDArray[np.float64]:
    """Return the sums of all windows of a size; (grid - size + 1) of them along each axis.

    By running sums, not by ``sliding_window_view(...).sum()``: their rounding decides between windows of equal score, and another
    order of additions would change which regions are proposed.
    """
    sums = values
    for axis, n in enumerate(size):
        running = np.insert(sums.cumsum(axis=axis), 0, 0, axis=axis)
        count = running.shape[axis] - n
        sums = np.take(running, range(n, n + count), axis=axis) - np.take(running, range(count), axis=axis)
    return sums
