"""Follow an object from slice to slice: how two-dimensional networks segment it in a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn.functional import interpolate

#: Logit where the object is not followed any more.
OUTSIDE = -20.0


def follow_slices(
    first: Mapping[int, torch.Tensor],
    step: Callable[[int, torch.Tensor], torch.Tensor],
    shape: tuple[int, int, int],
    progress: Callable[[float], None] = lambda _: None,
) -> torch.Tensor:
    """Segment the neighbours of segmented slices in both directions, until no voxel is left or another one of those is reached.

    Args:
        first: Slice -> (1, 1, height, width) logits, on a grid of the network's own.
        step: Segments a slice by the logits of the slice before.
        shape: Voxels (x, y, z) of the window; slices are along z.
        progress: Called before each slice with the finished share; an exception raised in it ends the work.

    Returns:
        (1, 1, x, y, z) float32 logits.
    """
    masks = dict(first)
    for z in first:
        for direction in (-1, 1):
            at, mask = z + direction, masks[z]
            while 0 <= at < shape[2] and at not in masks and (mask > 0).any():
                progress(len(masks) / shape[2])
                mask = masks[at] = step(at, mask)
                at += direction
    logits = torch.full((1, 1, *shape), OUTSIDE)
    for z, mask in masks.items():
        logits[0, 0, :, :, z] = interpolate(mask.float().cpu(), size=shape[:2], mode="bilinear", align_corners=False)[0, 0]
    return logits
