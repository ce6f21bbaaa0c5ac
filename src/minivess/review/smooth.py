"""Smooth the outline of a mask inside a region, without losing a capillary."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from minivess.metrics import centreline_from_mask
from minivess.review.prompts import MaskChange, Point, PromptContext, nearest_mask_voxel
from minivess.volume import Box

_HIT_UM = 15.0
#: An axis whose voxels are longer than this many of the shortest edges is not smoothed along: its neighbours are other places.
_LONG = 1.5


def smooth(context: PromptContext, point: Point, box: Box) -> MaskChange:
    """Make each voxel of a box what most of its neighbours are; centre lines stay vessel, so that nothing thin is lost.

    Args:
        context: Mask, probability and image.
        point: The click (x, y, z), on a vessel or near one.
        box: Where, in voxels.

    Returns:
        The mask inside the box, to replace it.

    Raises:
        InputError: When no vessel is at the click.
    """
    nearest_mask_voxel(context, point, within_um=_HIT_UM)
    size = tuple(3 if edge <= _LONG * min(context.spacing_um) else 1 for edge in context.spacing_um)
    around = box.grown((1, 1, 1), context.mask.shape)  # voxels at the border of the box have their neighbours, too
    window = context.mask[around.slices]
    smoothed = ndimage.median_filter(window.astype(np.uint8), size=size, mode="nearest") > 0
    inner = box.relative_to(around.low).slices
    return MaskChange((smoothed | centreline_from_mask(window))[inner], box.low)
