"""Recognise near-duplicates of a volume: rescaled, resampled, denoised, cropped a little, turned or mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import rankdata
from skimage.feature import match_template
from skimage.measure import block_reduce
from skimage.transform import resize

from minivess.volume import Volume

#: Cells of a thumbnail along each axis.
CELLS = 24
#: Cells for the first comparison: few enough to ignore noise, enough to tell two fields of view apart.
_COARSE = 12
_FINE = 2 * CELLS
#: From this correlation of the coarse cells on, two volumes show the same, whatever their detail: noise is detail, too.
SAME = 0.8
#: From this one on they do where their detail is alike, too. Measured on eight real and twenty synthetic volumes: changes of
#: contrast, noise of 0.3 standard deviations, smoothing by 0.7 voxels, half the resolution, turns and mirrorings leave 0.88;
#: a crop of 5 % on every side 0.68 with a detail of 0.79. Two fields of view: at most 0.54. CT heads in one position: up to
#: 0.77 (45 pairs of synthetic ones), with a detail of at most 0.74. Two recordings of one field of view: 0.86 and 0.78. A crop
#: and noise together can be missed where vessels are few.
ALIKE, SAME_DETAIL = 0.65, 0.76
#: The limit for thumbnails without detail, which test sets have that were sealed earlier.
_SAME_WITHOUT_DETAIL = 0.65
#: Side of the blocks whose detail is compared, and how far they are looked for, in cells.
_BLOCK, _SHIFT = 8, 2
#: Shares that may have been cropped from both sides of an axis.
_CROPS = (0.0, 0.03, 0.055, 0.08)

_Number = TypeVar("_Number", bound=np.generic)
_Turn = tuple[tuple[int, ...], tuple[int, ...]]


def thumbnail(volume: Volume) -> NDArray[np.uint8]:
    """Compute the square roots of the mean intensities of a grid over the volume.

    Args:
        volume: Any volume; its affine is not used.

    Returns:
        (24, 24, 24) uint8, 255 for the brightest.
    """
    blocks = tuple(max(1, n // _FINE) for n in volume.shape)
    values = block_reduce(volume.array, blocks, np.mean, func_kwargs={"dtype": np.float32})
    values = values[tuple(slice(0, n // b) for n, b in zip(volume.shape, blocks, strict=True))]  # full blocks only
    bright = np.sqrt(np.clip(values - np.percentile(values, 1), 0, None))  # a few bright voxels do not decide
    cells = resize(bright, (CELLS, CELLS, CELLS), order=1, anti_aliasing=True, mode="edge")
    return np.asarray(255 * np.clip(cells / max(float(np.percentile(cells, 99.5)), 1e-12), 0, 1)).round().astype(np.uint8)


def shows_the_same(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Return whether two thumbnails are of the same field of view: alike on the whole, and in detail.

    Args:
        first: (24, 24, 24) thumbnail.
        second: (24, 24, 24) thumbnail, or (12, 12, 12) ranks: of a test set that was sealed earlier.
    """
    alike, turn = _best_turn(first, second)
    if len(second) == _COARSE:
        return alike >= _SAME_WITHOUT_DETAIL
    return alike >= SAME or (alike >= ALIKE and detail_likeness(first, _turned(second, turn)) >= SAME_DETAIL)


def detail_likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return how well blocks of one thumbnail's detail are found near their place in the other one, also where one was cropped.

    How much was cropped is what makes all of the detail most alike.

    Args:
        first: (24, 24, 24) thumbnail.
        second: (24, 24, 24) thumbnail, turned as the first one.

    Returns:
        The median over blocks of the highest correlation, in [0, 1].
    """
    one, other = (_detail(thumb) for thumb in (first, second))
    crops = product(_CROPS, _CROPS)
    pairs = [(_inner(a, (xy, xy, z)), b) for xy, z in crops for a, b in ((one, other), (other, one))]
    likely = max(pairs, key=lambda pair: abs(float((pair[0] * pair[1]).mean())))
    return float(np.median([*_block_correlations(*likely), 0.0]))


def _best_turn(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, _Turn]:
    """Return the highest correlation over all 48 turns and mirrorings, and where; inverted grey values count as the same."""
    fixed, moving = (_standardised(_coarse(thumb)) for thumb in (first, second))
    turns = [(axes, steps) for axes in permutations(range(3)) for steps in product((1, -1), repeat=3)]
    found = [abs(float((fixed * _turned(moving, turn)).mean())) for turn in turns]
    best = int(np.argmax(found))
    return found[best], turns[best]


def _turned(values: NDArray[_Number], turn: _Turn) -> NDArray[_Number]:
    axes, steps = turn
    return values.transpose(axes)[:: steps[0], :: steps[1], :: steps[2]]


def _coarse(thumb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return ranks of a coarse grid: depth takes light from every stack, and what all slices share tells nothing."""
    if len(thumb) == _COARSE:
        return thumb.astype(np.float64)
    coarse = block_reduce(thumb.astype(np.float64), (CELLS // _COARSE,) * 3, np.mean)
    for axis in range(3):
        coarse = coarse - coarse.mean(axis=tuple({0, 1, 2} - {axis}), keepdims=True)
    return _ranks(coarse)


def _detail(thumb: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = thumb.astype(np.float64)
    return _ranks(values - gaussian_filter(values, 2.0)) - 127.5


def _inner(detail: NDArray[np.float64], cropped: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the inner part of a grid on as many cells, as if the volume had been cropped by a share on every side."""
    last = CELLS - 1
    grid = np.meshgrid(*(np.linspace(CELLS * share, last - CELLS * share, CELLS) for share in cropped), indexing="ij")
    return np.asarray(map_coordinates(detail, grid, order=1, mode="nearest"))


def _block_correlations(one: NDArray[np.float64], other: NDArray[np.float64]) -> Iterator[float]:
    for low in product(range(0, CELLS, _BLOCK), repeat=3):
        block = one[tuple(slice(n, n + _BLOCK) for n in low)]
        around = other[tuple(slice(max(0, n - _SHIFT), n + _BLOCK + _SHIFT) for n in low)]
        if block.std() > 10:  # of ranks from 0 to 255: something is there
            yield float(np.abs(match_template(around, block)).max())


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    order = rankdata(values.ravel()).reshape(values.shape)
    return np.asarray(255 * (order - 1) / (order.size - 1))


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = values - values.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-12))
