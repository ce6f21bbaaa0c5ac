"""Divide a volume into small equal blocks and compute features of each: the input of the ranker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import block_reduce

from minivess.models import binary_entropy
from minivess.review.error_probability import estimate_error_probability

#: Edges (x, y, z) of a block; at 0.994 x 0.994 x 5 um it has 8 x 8 x 2 voxels.
BLOCK_UM = (8.0, 8.0, 10.0)
_MEANS = ("error probability", "false positive", "false negative", "entropy", "probability", "vessel", "contrast")
_MAXIMA = ("error probability", "probability", "contrast")
#: What the columns of :attr:`BlockFeatures.features` hold.
FEATURE_NAMES = (
    *(f"mean {name}" for name in _MEANS),
    *(f"maximum {name}" for name in _MAXIMA),
    *(f"neighbourhood mean {name}" for name in _MEANS),
    "depth",
)


@dataclass(frozen=True, eq=False)
class BlockFeatures:
    """The blocks of one volume.

    Attributes:
        grid: Number of blocks along x, y, z; the last one along an axis may be smaller.
        block_shape: Voxels of a block along x, y, z.
        voxels: (blocks,) int64, number of voxels of each block.
        voxel_um3: Volume of a voxel.
        features: (blocks, features) float32, see :data:`FEATURE_NAMES`.
    """

    grid: tuple[int, int, int]
    block_shape: tuple[int, int, int]
    voxels: NDArray[np.int64]
    voxel_um3: float
    features: NDArray[np.float32]

    def column(self, name: str) -> NDArray[np.float32]:
        """Return one feature of all blocks, (blocks,)."""
        return self.features[:, FEATURE_NAMES.index(name)]

    def to_grid(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reshape values of the blocks, (blocks,), to :attr:`grid`."""
        return values.reshape(self.grid)


def block_shape_from_spacing(spacing_um: tuple[float, float, float]) -> tuple[int, int, int]:
    """Compute the number of voxels (x, y, z) of a block of :data:`BLOCK_UM`."""
    x, y, z = (max(1, round(edge / step)) for edge, step in zip(BLOCK_UM, spacing_um, strict=True))
    return x, y, z


def sum_blocks(array: NDArray[Any], block_shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Sum an array within each block.

    Args:
        array: (x, y, z), bool or real.
        block_shape: Voxels of a block along x, y, z.

    Returns:
        (grid x, grid y, grid z) float64.
    """
    return np.asarray(block_reduce(array, block_shape, np.sum, func_kwargs={"dtype": np.float64}))


def compute_block_features(
    probability: NDArray[np.float32],
    mask: NDArray[np.bool_],
    contrast: NDArray[np.float32],
    spacing_um: tuple[float, float, float],
    *,
    error_probability: NDArray[np.float32] | None = None,
    block_shape: tuple[int, int, int] | None = None,
) -> BlockFeatures:
    """Compute the features of a prediction, block by block.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        mask: (x, y, z) bool, predicted vessel.
        contrast: (x, y, z) float32, the image as the network sees it, so that blocks of different volumes compare.
        spacing_um: Voxel size along x, y, z.
        error_probability: (x, y, z) float32 in [0, 1]; computed when not given.
        block_shape: Voxels of a block along x, y, z; those of :data:`BLOCK_UM` when not given.
    """
    block_shape = block_shape or block_shape_from_spacing(spacing_um)
    if error_probability is None:
        error_probability = estimate_error_probability(probability, mask, spacing_um)
    maps: dict[str, NDArray[np.float32]] = {
        "error probability": error_probability,
        "false positive": np.where(mask, error_probability, np.float32(0)),
        "false negative": np.where(mask, np.float32(0), error_probability),
        "entropy": binary_entropy(probability),
        "probability": probability,
        "vessel": mask.astype(np.float32),
        "contrast": contrast,
    }
    voxels = sum_blocks(np.ones(probability.shape, bool), block_shape)
    means = {name: sum_blocks(maps[name], block_shape) / voxels for name in _MEANS}
    columns = [means[name] for name in _MEANS]
    columns += [block_reduce(maps[name], block_shape, np.max, cval=-np.inf) for name in _MAXIMA]
    columns += [ndimage.uniform_filter(means[name], 3) for name in _MEANS]
    columns.append(np.broadcast_to(np.linspace(0, 1, voxels.shape[2]), voxels.shape))
    x, y, z = voxels.shape
    features = np.stack([column.ravel() for column in columns], axis=1).astype(np.float32)
    return BlockFeatures((x, y, z), block_shape, voxels.ravel().astype(np.int64), float(np.prod(spacing_um)), features)
