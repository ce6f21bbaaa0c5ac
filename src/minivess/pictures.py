"""Pictures of volumes for people who would rather look than read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from minivess.errors import InputError
from minivess.paths import atomic_file
from minivess.volume import Volume

Rgb = NDArray[np.uint8]
_OUTLINE = np.array([255, 70, 50], np.uint8)
_MISSED = np.array([60, 150, 255], np.uint8)
#: Dark to bright for uncertainty: readable for colour-blind eyes, and in print.
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)


def projection(volume: Volume, *, power: float = 0.5) -> Rgb:
    """Project the brightest voxel along z as a grey picture; rows are y, from top to bottom.

    Args:
        volume: Any intensities.
        power: Exponent of the grey scale; 0.5 shows dim capillaries beside bright veins.
    """
    image = volume.array.max(axis=2).astype(np.float64)
    low, high = np.percentile(image, (0.5, 99.8))
    scaled = np.clip((image - low) / max(high - low, 1e-9), 0, 1) ** power
    return np.repeat((255 * scaled).astype(np.uint8).T[..., None], 3, axis=2)


def overlay(picture: Rgb, mask: NDArray[Any], reference: NDArray[Any] | None = None) -> Rgb:
    """Draw the outline of a mask's projection in red, and what a reference has beyond it in blue.

    Args:
        picture: From :func:`projection`.
        mask: (x, y, z) mask.
        reference: (x, y, z) mask of what is true.
    """
    result = picture.copy()
    flat = (mask > 0).any(axis=2).T
    if reference is not None:
        missed = (reference > 0).any(axis=2).T & ~flat
        result[missed] = (0.35 * result[missed] + 0.65 * _MISSED).astype(np.uint8)
    result[flat & ~ndimage.binary_erosion(flat)] = _OUTLINE
    return result


def heat(uncertainty: Volume, *, voxels: int = 5) -> Rgb:
    """Project uncertainty along z as a heat map, from dark (sure) to bright (ln 2 nats: a coin toss).

    Each pixel is the mean of the most uncertain ``voxels`` below it: of one alone, nearly every pixel would be bright, and the
    mean of all would fade with the depth of the volume.
    """
    deepest = min(voxels, uncertainty.shape[2])
    image = np.partition(uncertainty.array, -deepest, axis=2)[..., -deepest:].mean(axis=2).T / np.log(2)
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(image, stops, _HEAT[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def side_by_side(*pictures: Rgb) -> Rgb:
    """Put pictures of equal height in a row with a thin gap.

    Raises:
        InputError: When their heights differ.
    """
    if len({p.shape[0] for p in pictures}) != 1:
        raise InputError("Pictures in a row have one height.")
    gap = np.full((pictures[0].shape[0], 6, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def png_bytes(picture: Rgb) -> bytes:
    """Encode a picture as PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def save_png(picture: Rgb, path: Path) -> None:
    """Write a picture as PNG, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(png_bytes(picture))
