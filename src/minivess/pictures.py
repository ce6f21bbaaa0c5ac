"""Render volumes, masks and uncertainty maps as RGB images and PNG files."""

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

#: RGB image: axes (row, column, channel), uint8.
Rgb = NDArray[np.uint8]
_OUTLINE = np.array([255, 70, 50], np.uint8)
_MISSED = np.array([60, 150, 255], np.uint8)
#: So many of the most uncertain voxels along z are averaged for a pixel of the heat map.
_DEEPEST = 5
#: Colour stops of the uncertainty map, from dark to bright: readable with colour blindness and in print.
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)


def projection(volume: Volume) -> Rgb:
    """Compute the maximum-intensity projection along z as a grey image; rows are y, from top to bottom.

    The 0.5th to 99.8th percentile is scaled to the grey range; its square root shows dim capillaries beside bright veins.

    Returns:
        (y, x, 3) uint8.
    """
    image = volume.array.max(axis=2).T
    return grey(image, *np.percentile(image, (0.5, 99.8)), power=0.5)


def grey(image: NDArray[Any], low: float, high: float, *, power: float = 1.0) -> Rgb:
    """Convert intensities to a grey image.

    Args:
        image: (row, column) intensities.
        low: Intensity that becomes black.
        high: Intensity that becomes white.
        power: Exponent of the grey scale.

    Returns:
        (row, column, 3) uint8.
    """
    scaled = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1) ** power
    return np.repeat((255 * scaled).astype(np.uint8)[..., None], 3, axis=2)


def outline(picture: Rgb, mask: NDArray[Any]) -> Rgb:
    """Draw the outline of a flat mask in red.

    Args:
        picture: (row, column, 3) uint8; it is not changed.
        mask: (row, column); a value above 0 is vessel.

    Returns:
        (row, column, 3) uint8.
    """
    result, inside = picture.copy(), mask > 0
    result[inside & ~ndimage.binary_erosion(inside)] = _OUTLINE
    return result


def overlay(picture: Rgb, mask: NDArray[Any], reference: NDArray[Any] | None = None) -> Rgb:
    """Draw the outline of a projected mask in red, and the pixels that only the reference contains in blue.

    Args:
        picture: (y, x, 3) uint8 from :func:`projection`; it is not changed.
        mask: (x, y, z) mask; a value above 0 is vessel.
        reference: (x, y, z) reference mask, or None.

    Returns:
        (y, x, 3) uint8.
    """
    result = picture.copy()
    flat = np.asarray((mask > 0).any(axis=2)).T
    if reference is not None:
        missed = (reference > 0).any(axis=2).T & ~flat
        result[missed] = (0.35 * result[missed] + 0.65 * _MISSED).astype(np.uint8)
    return outline(result, flat)


def heat(uncertainty: Volume) -> Rgb:
    """Project an uncertainty map along z as a heat map, from dark (0 nats) to bright (ln 2 nats, a probability of 0.5).

    Each pixel is the mean of the most uncertain voxels along z. With the maximum alone, nearly every pixel would be bright;
    the mean of all voxels would depend on the depth of the volume.

    Args:
        uncertainty: Volume of binary entropies in nats, in [0, ln 2].

    Returns:
        (y, x, 3) uint8.
    """
    deepest = min(_DEEPEST, uncertainty.shape[2])
    image = np.partition(uncertainty.array, -deepest, axis=2)[..., -deepest:].mean(axis=2).T / np.log(2)
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(image, stops, _HEAT[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def side_by_side(*pictures: Rgb) -> Rgb:
    """Join images of equal height from left to right, with a thin white gap.

    Raises:
        InputError: When the heights differ.
    """
    heights = [picture.shape[0] for picture in pictures]
    if len(set(heights)) != 1:
        raise InputError(f"Images side by side must have the same height. Got {heights} pixels.")
    gap = np.full((pictures[0].shape[0], 6, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def png_bytes(picture: Rgb) -> bytes:
    """Return an image encoded as PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def save_png(picture: Rgb, path: Path) -> None:
    """Write an image as PNG, atomically.

    Args:
        picture: (row, column, 3) uint8.
        path: File to write.

    Raises:
        OutputError: When the file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(png_bytes(picture))
