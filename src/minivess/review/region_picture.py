"""Draw a small picture of a region: the image, and the image with the outline of the mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from minivess.pictures import Rgb, overlay, projection, side_by_side
from minivess.store.region import Region
from minivess.volume import Volume

#: Width of the surroundings that are shown, in plane.
_MARGIN_UM = 16.0
#: Of the picture, in pixels; voxels keep their true ratio of width and height.
_HEIGHT = 256
_FRAME = np.array([255, 210, 60], np.uint8)


def region_picture(image: Volume, mask: Volume, region: Region) -> Rgb:
    """Project a region along z, without and with the outline of a mask; a yellow frame shows its box.

    Args:
        image: The whole volume.
        mask: The mask on the same grid.
        region: The region.

    Returns:
        (row, column, 3) uint8.
    """
    box, margin = region.box, np.array([*(round(_MARGIN_UM / step) for step in image.spacing_um[:2]), 0])
    view = box.grown(margin, image.shape)
    columns, rows, _ = view.shape
    plain = projection(Volume(image.array[view.slices], image.affine, image.unit))
    outlined = overlay(plain, mask.array[view.slices])
    width = max(1, round(_HEIGHT * columns * image.spacing_um[0] / (rows * image.spacing_um[1])))
    scale = np.array([width / columns, _HEIGHT / rows])
    inner = box.relative_to(view.low)
    edges = np.array([[inner.x0, inner.x1], [inner.y0, inner.y1]]) * scale[:, None]
    return side_by_side(*(_with_frame(_resize(picture, width, _HEIGHT), edges) for picture in (plain, outlined)))


def _resize(picture: Rgb, width: int, height: int) -> Rgb:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))


def _with_frame(picture: Rgb, edges: NDArray[np.float64]) -> Rgb:
    framed = picture.copy()
    (left, right), (top, bottom) = edges.round().astype(int)
    right, bottom = min(right, framed.shape[1]) - 1, min(bottom, framed.shape[0]) - 1
    framed[top : bottom + 1, [left, right]] = _FRAME
    framed[[top, bottom], left : right + 1] = _FRAME
    return framed
