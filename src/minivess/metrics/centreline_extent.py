"""Restore the extent of centre-lines that thinning has shortened.

scikit-image's thinning removes straight vessels of even thickness, up to one voxel. Where the centre-line of a component ends far
before the component, minimum-cost paths through the middle of the vessel lead from its ends to the remaining centre-line. Lost
branches inside the extent of a network are not restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric

from minivess.metrics.masks import Mask

#: A voxel of the mask is far from the centre-line when its distance exceeds this many radii of the vessel there, and voxels.
_RADII, _VOXELS = 2.0, 2.0
_MOST_PATHS = 4  # for one component
_APART = 1e6  # distance of slices that have no influence on each other
_PLANES = ((_APART, 1.0, 1.0), (1.0, _APART, 1.0), (1.0, 1.0, _APART))  # the slices along each axis, one by one
_SLAB = 8  # slices
_NEAR = _RADII + _VOXELS  # nearer than this, no voxel is far


def restore_extent(components: NDArray[Any], boxes: Sequence[tuple[slice, ...]], thin: Mask) -> Mask:
    """Add to a centre-line what reaches the ends of components that it no longer reaches.

    Args:
        components: (x, y, z), the labels of the mask's components, from 1; 0 outside.
        boxes: The bounding box of each component, as ``scipy.ndimage.find_objects`` returns them.
        thin: (x, y, z) bool, the centre-line of the mask, with at least one voxel in each component.

    Returns:
        (x, y, z) bool, the centre-line with the added paths.
    """
    lost = _lost_extent(components, thin, boxes)
    result = thin.copy()
    for index in np.flatnonzero(lost > _NEAR):
        box = boxes[index]
        own = components[box] == index + 1
        if any(lost[index] <= _RADII * radius + _VOXELS for radius in _radii_of_slabs(own)):
            continue
        result[box] |= _restored(own, result[box] & own, _widest_radius(own))
    return result


def _lost_extent(components: NDArray[Any], thin: Mask, boxes: Sequence[tuple[slice, ...]]) -> NDArray[np.int64]:
    """Return by how many voxels the centre-line of each component ends before it, on the worst of its six sides."""
    points = np.argwhere(thin)
    indices = components[tuple(points.T)].astype(np.int64) - 1
    low, high = np.full((len(boxes), 3), np.iinfo(np.int64).max), np.full((len(boxes), 3), -1)
    np.minimum.at(low, indices, points)
    np.maximum.at(high, indices, points)
    first = np.array([[side.start for side in box] for box in boxes])
    last = np.array([[side.stop - 1 for side in box] for box in boxes])
    return np.asarray(np.maximum(low - first, last - high).max(axis=1))


def _radii_of_slabs(inside: Mask) -> Iterator[float]:
    """Yield the largest radius in each slab of a mask, plane by plane: mostly one of the first shows that a vessel is wide."""
    for axis, plane in enumerate(_PLANES):
        for start in range(0, inside.shape[axis], _SLAB):
            slab = np.ascontiguousarray(inside.take(range(start, min(start + _SLAB, inside.shape[axis])), axis=axis))
            yield float(edt.edt(slab, anisotropy=plane, black_border=True).max())


def _widest_radius(inside: Mask) -> NDArray[np.float32]:
    """Compute the radius of the largest disc about each voxel inside the mask, in the widest of the three planes of the grid.

    Half the width of a flat vessel, as anisotropic voxels make it: its edges are far from its centre-line, but no lost branch.
    """
    discs = [edt.edt(np.ascontiguousarray(inside), anisotropy=plane, black_border=True) for plane in _PLANES]
    return np.asarray(np.maximum.reduce(discs))


def _restored(own: Mask, thin: Mask, radius: NDArray[np.float32]) -> Mask:
    """Add paths to the centre-line of one component until no voxel is far from it."""
    result = thin.copy()
    cost = np.where(own, 1.0 + (radius.max() / np.maximum(radius, 1.0)) ** 2, -1.0)  # negative: no way
    for _ in range(_MOST_PATHS):
        far = _far_voxels(own, result, radius)
        if not len(far):
            break
        search = MCP_Geometric(cost, fully_connected=True)
        costs, _ = search.find_costs(np.argwhere(result))
        end = far[np.argmax(costs[tuple(far.T)])]
        result[tuple(np.array(search.traceback(end)).T)] = True
    return result


def _far_voxels(inside: Mask, thin: Mask, radius: NDArray[np.float32]) -> NDArray[np.int64]:
    """List the voxels (n, 3) of a mask that are farther from the centre-line than a vessel of the width there is wide."""
    distance = edt.edt(np.ascontiguousarray(~thin), black_border=False)
    candidates = np.argwhere(inside & (distance > _NEAR))
    if not len(candidates):
        return candidates
    line = np.argwhere(thin)
    nearest = line[cKDTree(line).query(candidates)[1]]
    allowed = _RADII * radius[tuple(nearest.T)] + _VOXELS
    return np.asarray(candidates[distance[tuple(candidates.T)] > allowed])
