"""From cells to places: boxes of a glance's size, put where most errors are expected and nobody has looked yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minivess.review.cells import Cells
from minivess.review.region import Box, Kind, Region
from minivess.review.survey import Survey

#: What can be taken in at a glance, in um along x, y, z: of the order of most errors per decision, and most per volume.
GLANCE_UM = {"mass": (64.0, 64.0, 20.0), "density": (32.0, 32.0, 10.0)}
#: ``"mass"``: most errors per decision. ``"density"``: most errors per volume looked at.
Order = Literal["mass", "density"]
#: Seconds to go to a place and see it, and to mend one thing in it: an estimate, not measured on people.
LOOK_S, MEND_S = 4.0, 8.0
#: Nobody is sent to a place where fewer errors than that are expected.
WORTHLESS = 0.02


def choose_boxes(
    cells: Cells,
    score: NDArray[np.float64],
    spacing_um: tuple[float, float, float],
    *,
    count: int,
    order: Order = "mass",
    reviewed: NDArray[np.bool_] | None = None,
) -> list[tuple[Box, float]]:
    """Put boxes one after the other where the most is left to find.

    Args:
        cells: Of a volume.
        score: (cells,) errors to expect in each.
        spacing_um: Voxel size along x, y, z.
        count: How many boxes.
        order: How large boxes are, see :data:`GLANCE_UM`.
        reviewed: (grid x, grid y, grid z) cells that were looked at already.

    Returns:
        Boxes in cells, and the errors to expect in each, the most first; fewer where nothing is left. At least half of each
        box is new.
    """
    seen = np.zeros(cells.grid, bool) if reviewed is None else reviewed.copy()
    left = np.where(seen, 0.0, cells.as_grid(np.maximum(score, 0)))
    edges_um = np.asarray(cells.edge) * np.asarray(spacing_um)
    size = [max(1, min(n, round(g / e))) for g, e, n in zip(GLANCE_UM[order], edges_um, cells.grid, strict=True)]
    boxes: list[tuple[Box, float]] = []
    while len(boxes) < count:
        worth = _window_sums(left, size)
        at = np.unravel_index(int(worth.argmax()), worth.shape)
        if worth[at] < WORTHLESS:
            break
        window = tuple(slice(int(a), int(a) + n) for a, n in zip(at, size, strict=True))
        box, new = _unseen_part(seen[window], window)
        if new >= 0.5:
            boxes.append((box, float(worth[at])))
            seen[window] = True
        left[window] = 0
    return boxes


def _unseen_part(seen: NDArray[np.bool_], window: tuple[slice, ...]) -> tuple[Box, float]:
    """Shrink a window to what is new in it; also says which share of that is new."""
    bounds: list[int] = []
    for axis, along in enumerate(window):
        new = np.flatnonzero(~seen.all(axis=tuple(a for a in range(3) if a != axis)))
        bounds += [along.start + int(new[0]), along.start + int(new[-1]) + 1]
    x0, x1, y0, y1, z0, z1 = bounds
    part = tuple(slice(a - w.start, b - w.start) for a, b, w in zip(bounds[::2], bounds[1::2], window, strict=True))
    return (x0, x1, y0, y1, z0, z1), float((~seen[part]).mean())


def in_voxels(box: Box, cells: Cells, shape: tuple[int, int, int]) -> Box:
    """Turn a box of cells into one of voxels."""
    edges = np.repeat(cells.edge, 2)
    x0, x1, y0, y1, z0, z1 = (int(b) for b in np.minimum(np.asarray(box) * edges, np.repeat(shape, 2)))
    return x0, x1, y0, y1, z0, z1


def describe(box: Box, errors: float, survey: Survey) -> Region:
    """Say what a box is worth looking at for.

    Args:
        box: In voxels.
        errors: How many are expected in it.
        survey: Of the whole volume.
    """
    low, high = np.array(box[::2]), np.array(box[1::2])
    at = np.flatnonzero(((survey.points >= low) & (survey.points < high)).all(axis=1))
    found, first, count = np.unique(survey.finding_of[at], return_index=True, return_counts=True)
    findings = [survey.findings[n] for n in found]
    weights = np.array([f.expected_voxels * n / len(f.branch.points) for f, n in zip(findings, count, strict=True)])
    expected = float(survey.suspicion[box[0] : box[1], box[2] : box[3], box[4] : box[5]].sum(dtype=np.float64))
    kind: Kind = "boundary"
    centre, reason = (low + high - 1) / 2, "the model is unsure here"
    if len(findings):
        worst = int(weights.argmax())
        kind, reason = findings[worst].kind, findings[worst].words
        centre = survey.points[at[first[worst] + count[worst] // 2]]
        others = int((np.delete(weights, worst) > 1.0).sum())
        reason += f"; and {others} more" if others else ""
    volume = survey.volume
    centre_ras = (volume.affine @ [*centre, 1.0])[:3]
    corners = np.concatenate([(volume.affine @ [*corner, 1.0])[:3] for corner in (low - 0.5, high - 0.5)])
    return Region(
        centre_ras=tuple(float(c) for c in centre_ras),  # type: ignore[arg-type]
        box=box,
        box_ras=tuple(float(c) for c in corners),  # type: ignore[arg-type]
        kind=kind,
        expected_errors=errors,
        expected_voxels=expected,
        cost_s=LOOK_S + MEND_S * errors,
        reason=reason,
    )


def _window_sums(values: NDArray[np.float64], size: Sequence[int]) -> NDArray[np.float64]:
    """Add up all windows of a size; (grid - size + 1) of them along each axis."""
    total = values
    for axis, n in enumerate(size):
        running = np.insert(total.cumsum(axis=axis), 0, 0, axis=axis)
        count = running.shape[axis] - n
        total = np.take(running, range(n, n + count), axis=axis) - np.take(running, range(count), axis=axis)
    return total
