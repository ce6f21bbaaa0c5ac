"""A small picture of a place: what the microscope saw, and what was drawn."""

from __future__ import annotations

import numpy as np
from PIL import Image

from minivess.pictures import Rgb, overlay, projection, side_by_side
from minivess.review.region import Region
from minivess.volume import Volume

_BOX = np.array([255, 210, 60], np.uint8)


def region_picture(image: Volume, mask: Volume, region: Region, *, margin_um: float = 16.0, height: int = 256) -> Rgb:
    """Project a place along z, bare and with the outline of a mask; a yellow frame shows how far the place reaches.

    Args:
        image: The whole volume.
        mask: What is drawn, on the same grid.
        region: The place.
        margin_um: What is shown around it, in plane.
        height: Of the picture in pixels; its voxels are as wide and high as they are in truth.
    """
    margin = [round(margin_um / s) for s in image.spacing_um[:2]]
    x0, x1, y0, y1, z0, z1 = region.box
    low = (max(0, x0 - margin[0]), max(0, y0 - margin[1]))
    high = (min(image.shape[0], x1 + margin[0]), min(image.shape[1], y1 + margin[1]))
    crop = (slice(low[0], high[0]), slice(low[1], high[1]), slice(z0, z1))
    bare = projection(Volume(image.array[crop], image.affine, image.unit))
    drawn = overlay(bare, mask.array[crop])
    width = round(height * (high[0] - low[0]) * image.spacing_um[0] / ((high[1] - low[1]) * image.spacing_um[1]))
    large = [np.asarray(Image.fromarray(p).resize((max(1, width), height), Image.Resampling.NEAREST)) for p in (bare, drawn)]
    scale = np.array([large[0].shape[1] / (high[0] - low[0]), height / (high[1] - low[1])])
    edges = np.array([[x0 - low[0], x1 - low[0]], [y0 - low[1], y1 - low[1]]]) * scale[:, None]
    return side_by_side(*(_framed(picture, edges) for picture in large))


def _framed(picture: Rgb, edges: np.ndarray) -> Rgb:
    framed = picture.copy()
    (left, right), (top, bottom) = edges.round().astype(int)
    right, bottom = min(right, framed.shape[1]) - 1, min(bottom, framed.shape[0]) - 1
    framed[top : bottom + 1, [left, right]] = _BOX
    framed[[top, bottom], left : right + 1] = _BOX
    return framed
