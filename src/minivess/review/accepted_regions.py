"""Apply what annotators have accepted to a prediction: no later prediction changes these voxels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from minivess.errors import ConflictError, InputError, StoreError
from minivess.review.mask_codec import unpack_mask
from minivess.store import QueueItem


def apply_accepted(mask: NDArray[np.bool_], items: Iterable[QueueItem]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Replace the voxels of answered regions by what was accepted there.

    Args:
        mask: (x, y, z) bool, a prediction.
        items: Answered items, the oldest answer first; where regions overlap, the later answer counts. Items that were skipped
            have no mask and change nothing.

    Returns:
        The mask with the accepted voxels, and (x, y, z) bool which voxels these are.

    Raises:
        ConflictError: When a region is outside the image: its file was replaced.
        StoreError: When the mask of an answer is damaged.
    """
    result, locked = mask.astype(bool, copy=True), np.zeros(mask.shape, bool)
    for item in items:
        if item.answer is None or not item.answer.mask:
            continue
        if not item.region.box.fits(mask.shape):
            raise ConflictError(
                f"The image of {item.id} has {mask.shape} voxels, but the region {tuple(item.region.box)} was answered in it: "
                "the file was replaced by another one. Put back the original file, or remove the image and add the new one under "
                "another name."
            )
        window = item.region.box.slices
        try:
            result[window] = unpack_mask(item.answer.mask, result[window].shape)
        except InputError as error:
            raise StoreError(f"The answer to {item.id} is damaged: {error} Restore its event from a backup.") from error
        locked[window] = True
    return result, locked
