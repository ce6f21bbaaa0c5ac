"""Remove many loose pieces at once: a click on one of them says how large a speck is."""

from __future__ import annotations

import cc3d
import numpy as np

from minivess.errors import InputError
from minivess.review.prompts import MaskChange, Point, PromptContext, nearest_mask_voxel
from minivess.volume import Box

#: A piece that is longer, along its longest side, is a vessel and no speck.
LONGEST_UM = 40.0
_HIT_UM = 8.0


def remove_specks(context: PromptContext, point: Point, box: Box | None = None) -> MaskChange:
    """Remove the loose piece at a click, and all others that have no more voxels and are no longer than 40 um.

    Args:
        context: Mask, probability and image.
        point: The click (x, y, z).
        box: Only pieces that lie wholly inside this box, in voxels; the whole volume without it.

    Raises:
        InputError: When there is no loose piece at the click: no mask, or a vessel.
    """
    at = nearest_mask_voxel(context, point, within_um=_HIT_UM)
    pieces = cc3d.connected_components(context.mask, connectivity=26)
    statistics = cc3d.statistics(pieces)
    corners = np.array([[(part.start, part.stop) for part in sides] for sides in statistics["bounding_boxes"][1:]])
    low, high = corners[..., 0], corners[..., 1]
    longest_um = ((high - low) * np.asarray(context.spacing_um)).max(axis=1)
    clicked = int(pieces[at]) - 1
    if longest_um[clicked] > LONGEST_UM:
        raise InputError(
            f"This piece is {longest_um[clicked]:.0f} um long: a vessel, no speck. Click on a loose piece of at most "
            f"{LONGEST_UM:g} um, or remove a branch of the vessel."
        )
    voxels = statistics["voxel_counts"][1:]
    specks = (voxels <= voxels[clicked]) & (longest_um <= LONGEST_UM)
    if box is not None:
        specks &= (low >= np.array(box.low)).all(axis=1) & (high <= np.array(box.high)).all(axis=1)
    if not specks[clicked]:
        raise InputError("The piece at the click reaches out of the region. Remove it as a branch, or erase it.")
    return MaskChange(np.insert(specks, 0, False)[pieces], (0, 0, 0))
