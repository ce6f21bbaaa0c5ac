"""Extract centre-lines and compute their overlap, clDice (Shit et al., CVPR 2021)."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

from minivess.metrics.centreline_extent import restore_extent
from minivess.metrics.masks import Mask, as_mask, as_pair, crop_to_union, fill_cavities

#: ``lee``: as scikit-image thins (Lee, Kashyap and Chu 1994), for comparison with published values of clDice.
#: ``lee-endpoint-safe``: the same, but no component vanishes or becomes shorter.
Thinning = Literal["lee", "lee-endpoint-safe"]
DEFAULT_THINNING: Thinning = "lee-endpoint-safe"
#: What a report says of its thinning; clDice values of different algorithms must not be compared.
THINNING = f"{DEFAULT_THINNING} (scikit-image {version('scikit-image')}, extent of components restored by minimum-cost paths)"


def centreline_from_mask(mask: NDArray[Any], thinning: Thinning = DEFAULT_THINNING) -> Mask:
    """Compute the centre-line of a mask by thinning.

    scikit-image reduces some compact shapes, such as a 4x4x4 cube, to no voxel at all, and straight vessels of even thickness to
    one. With ``lee-endpoint-safe`` a component keeps at least the voxel nearest to its centroid, and its extent is restored, so
    that every vessel contributes to the score by its length.

    Args:
        mask: (x, y, z) mask.
        thinning: Name of the algorithm.

    Returns:
        (x, y, z) bool.

    Raises:
        InputError: When the array is not a mask.
    """
    inside = as_mask(mask, "mask")
    if not inside.any():
        return np.zeros(inside.shape, bool)
    thin = np.asarray(skeletonize(inside, method="lee"), dtype=bool)
    if thinning == "lee":
        return thin
    components, count = cc3d.connected_components(inside, connectivity=26, return_N=True)
    boxes = ndimage.find_objects(components)
    for label in np.setdiff1d(np.arange(1, count + 1), np.unique(components[thin])):
        box = boxes[label - 1]
        voxels = np.argwhere(components[box] == label)
        nearest = np.argmin(((voxels - voxels.mean(0)) ** 2).sum(1))
        thin[box][tuple(voxels[nearest])] = True
    return restore_extent(components, boxes, thin)


def centreline_lengths(
    mask: NDArray[Any], spacing_um: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Compute the voxels of the centre-line of a mask and the length that each voxel represents.

    The length of a voxel is half the distance to each of its neighbours on the centre-line. An isolated voxel has the length
    of its shortest edge. Where branches meet in a corner, the distances of both are counted.

    Args:
        mask: (x, y, z) mask; cavities in it are filled.
        spacing_um: Voxel size along x, y, z in um.

    Returns:
        (n, 3) int64 voxel indices along x, y, z, and (n,) float64 lengths in um.

    Raises:
        InputError: When the array is not a mask.
    """
    voxels = np.argwhere(centreline_from_mask(fill_cavities(as_mask(mask, "mask"))))
    if not len(voxels):
        return voxels, np.zeros(0)
    first, second = cKDTree(voxels).query_pairs(1.8, output_type="ndarray").T  # 1.8 > sqrt(3): all 26 neighbours
    half = np.linalg.norm((voxels[first] - voxels[second]) * np.asarray(spacing_um), axis=1) / 2
    lengths = sum(np.bincount(ends, weights=half, minlength=len(voxels)) for ends in (first, second))
    return voxels, np.where(lengths > 0, lengths, min(spacing_um))


def cldice(reference: NDArray[Any], prediction: NDArray[Any], thinning: Thinning = DEFAULT_THINNING) -> float:
    """Compute clDice, the harmonic mean of topology precision and topology sensitivity.

    Topology precision is the fraction of the prediction's centre-line inside the reference. Topology sensitivity is the
    fraction of the reference's centre-line inside the prediction. Cavities are filled first, but for the thinning ``lee``.

    Args:
        reference: (x, y, z) mask.
        prediction: (x, y, z) mask.
        thinning: Name of the algorithm that extracts the centre-lines.

    Returns:
        A number in [0, 1]; 1 when both masks are empty, 0 when exactly one is empty or when they do not overlap. NaN where
        ``lee`` leaves nothing of a mask.

    Raises:
        InputError: When the arrays are not two masks of one shape.
    """
    a, b = crop_to_union(*as_pair(reference, prediction))
    if not a.any() and not b.any():
        return 1.0
    if not a.any() or not b.any():
        return 0.0
    if thinning == "lee-endpoint-safe":
        a, b = fill_cavities(a), fill_cavities(b)
    with ThreadPoolExecutor(2) as pool:  # thinning releases the interpreter
        thin_a, thin_b = pool.map(partial(centreline_from_mask, thinning=thinning), (a, b))
    if not thin_a.any() or not thin_b.any():
        return math.nan
    sensitivity = np.count_nonzero(thin_a & b) / np.count_nonzero(thin_a)
    precision = np.count_nonzero(thin_b & a) / np.count_nonzero(thin_b)
    total = sensitivity + precision
    return float(2.0 * sensitivity * precision / total) if total else 0.0
