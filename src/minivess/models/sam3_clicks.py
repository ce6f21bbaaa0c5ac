"""Clicks for SAM 3: its tracker segments the clicked plane, and follows the object along z in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch.nn.functional import interpolate

#: Logit where the object is not followed any more.
OUTSIDE = -20.0


def click_logits(
    tracker: Any,
    pixels: Callable[[torch.Tensor], torch.Tensor],
    window: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Segment the object at clicks.

    Each clicked plane is segmented by its own clicks. Its neighbours along z are segmented by the mask of the plane before
    and its surest point, until no voxel is left, or a plane with clicks of its own is reached.

    Args:
        tracker: ``Sam3TrackerModel``.
        pixels: Scales pictures (pictures, 1, height, width) to what the encoder takes.
        window: (1, 1, x, y, z) float, normalised intensities.
        points: (clicks, 3) voxels of the window.
        labels: (clicks,) 1 for the object, 0 for what is not the object.

    Returns:
        (1, 1, x, y, z) float32 logits.
    """
    shape = window.shape[2:]
    logits = window.new_full(tuple(window.shape), OUTSIDE, dtype=torch.float32)
    masks: dict[int, torch.Tensor] = {}
    clicked = sorted({int(z) for z in points[labels > 0][:, 2]})
    for z in clicked:
        here = points[:, 2] == z
        masks[z] = _segment(tracker, pixels, window[..., z], points[here][:, :2].float(), labels[here], None)
    for z in clicked:
        for step in (-1, 1):
            at, mask = z + step, masks[z]
            while 0 <= at < shape[2] and at not in masks and (mask > 0).any():
                at_point, label = _surest_point(mask, shape[:2]), torch.ones(1, dtype=torch.long, device=window.device)
                mask = masks[at] = _segment(tracker, pixels, window[..., at], at_point, label, mask)
                at += step
    for z, mask in masks.items():
        logits[0, 0, :, :, z] = interpolate(mask, size=tuple(shape[:2]), mode="bilinear", align_corners=False)[0, 0]
    return logits


@contextmanager
def without_adapters(network: torch.nn.Module) -> Iterator[None]:
    """Switch the adapters of a network off inside the context."""
    layers = [module for module in network.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _segment(
    tracker: Any,
    pixels: Callable[[torch.Tensor], torch.Tensor],
    picture: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
    before: torch.Tensor | None,
) -> torch.Tensor:
    """Return the logits (1, 1, h, w) of the mask grid; points are (clicks, 2) in pixels of the picture."""
    image = pixels(picture)
    scale = torch.tensor([image.shape[-1] / picture.shape[-1], image.shape[-2] / picture.shape[-2]], device=image.device)
    columns_rows = (points.flip(1).to(image.device) + 0.5) * scale
    found = tracker(
        pixel_values=image,
        input_points=columns_rows[None, None],
        input_labels=labels.to(image.device)[None, None],
        input_masks=before,
        multimask_output=False,
    )
    return found.pred_masks[:, 0].float()


def _surest_point(mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the pixel (1, 2) of the picture where the logit is highest."""
    height, width = mask.shape[-2:]
    index = int(mask[0, 0].argmax())
    row, column = divmod(index, width)
    return torch.tensor([[(row + 0.5) * shape[0] / height - 0.5, (column + 0.5) * shape[1] / width - 0.5]], device=mask.device)
