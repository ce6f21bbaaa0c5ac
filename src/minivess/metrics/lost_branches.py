"""Restore the parts of a centre-line that thinning has removed.

scikit-image's thinning removes straight pieces of even thickness, from whole vessels to single branches. Each such piece gets the
minimum-cost path from its end to the remaining centre-line, through the middle of the vessel.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric

from minivess.metrics.masks import Mask

#: A voxel of the mask is far from the centre-line when its distance exceeds this many radii of the vessel there, and voxels.
_RADII, _VOXELS = 2.0, 2.0
_NEAR = _RADII + _VOXELS  # nearer than this, no voxel is far


def restore_lost_branches(inside: Mask, thin: Mask) -> Mask:
    """Add to a centre-line the branches that reach voxels of the mask far from it.

    Args:
        inside: (x, y, z) bool, the mask.
        thin: (x, y, z) bool, its centre-line, with at least one voxel in each component.

    Returns:
        (x, y, z) bool, the centre-line with the added branches.
    """
    radius = edt.edt(np.ascontiguousarray(inside), black_border=True)
    far = _far_voxels(inside, thin, radius)
    if not len(far):
        return thin
    components = cc3d.connected_components(inside, connectivity=26)
    result = thin.copy()
    boxes = cc3d.statistics(components)["bounding_boxes"]
    for label in np.unique(components[tuple(far.T)]):
        box = boxes[label]
        own = components[box] == label
        result[box] |= _restored(own, result[box] & own, np.where(own, radius[box], 0.0))
    return result


def _restored(own: Mask, thin: Mask, radius: NDArray[np.float32]) -> Mask:
    """Add paths to the centre-line of one component until no voxel is far from it."""
    result = thin.copy()
    cost = np.where(own, 1.0 + (radius.max() / np.maximum(radius, 1.0)) ** 2, -1.0)  # negative: no way
    for _ in range(int(own.sum())):
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
