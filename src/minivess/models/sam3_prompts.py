"""Clicks and boxes for SAM 3: its tracker segments the slice that they are in, and follows the object along z."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from minivess.models.follow_slices import follow_slices


class PromptedTracker:
    """SAM 3's tracker on the slices of a window."""

    def __init__(self, tracker: Any, encode: Callable[[torch.Tensor], list[torch.Tensor]], image_size: int) -> None:
        """Use a tracker.

        Args:
            tracker: ``Sam3TrackerModel``.
            encode: Returns the tracker's features of a slice (1, 1, height, width), normalised intensities.
            image_size: Side of the picture to which it scales the slice, in pixels.
        """
        self._tracker, self._encode, self._image_size = tracker, encode, image_size

    def at_clicks(self, window: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Segment the object at clicks.

        Each clicked slice is segmented by its own clicks. Its neighbours along z are segmented by the mask of the slice before
        and its surest point, until no voxel is left, or a slice with clicks of its own is reached.

        Args:
            window: (1, 1, x, y, z) float, normalised intensities.
            points: (clicks, 3) voxels of the window.
            labels: (clicks,) 1 for the object, 0 for what is not the object.

        Returns:
            (1, 1, x, y, z) float32 logits.
        """
        masks = {}
        for z in sorted({int(z) for z in points[labels > 0][:, 2]}):
            here = points[:, 2] == z
            masks[z] = self._segment(window[..., z], points=points[here][:, :2].float(), labels=labels[here])
        return self._follow(window, masks)

    def in_box(
        self, window: torch.Tensor, low: Sequence[int], high: Sequence[int], progress: Callable[[float], None]
    ) -> torch.Tensor:
        """Segment the object inside a box: the middle slice by the box, the others as after a click.

        Args:
            window: (1, 1, x, y, z) float, normalised intensities.
            low: First voxel (x, y, z) of the box.
            high: Last voxel plus 1.
            progress: Called before each slice with the finished share.

        Returns:
            (1, 1, x, y, z) float32 logits; also of voxels outside the box.
        """
        middle = (low[2] + high[2]) // 2
        corners = torch.tensor([*low[:2], *high[:2]], dtype=torch.float32)
        return self._follow(window, {middle: self._segment(window[..., middle], box=corners)}, progress)

    def _follow(
        self, window: torch.Tensor, masks: dict[int, torch.Tensor], progress: Callable[[float], None] = lambda _: None
    ) -> torch.Tensor:
        shape = (window.shape[2], window.shape[3], window.shape[4])

        def by_mask(z: int, before: torch.Tensor) -> torch.Tensor:
            one = torch.ones(1, dtype=torch.long)
            return self._segment(window[..., z], points=_surest_point(before, shape[:2]), labels=one, before=before)

        return follow_slices(masks, by_mask, shape, progress)

    def _segment(
        self,
        picture: torch.Tensor,
        *,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        box: torch.Tensor | None = None,
        before: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the logits (1, 1, h, w) of the mask grid. Points (clicks, 2) and the box (4,) are in pixels of the picture."""
        height, width = picture.shape[-2:]
        rows_columns = torch.tensor([self._image_size / height, self._image_size / width], device=picture.device)
        prompts: dict[str, torch.Tensor] = {}
        if points is not None and labels is not None:
            prompts["input_points"] = ((points.to(picture.device) + 0.5) * rows_columns).flip(1)[None, None]
            prompts["input_labels"] = labels.to(picture.device)[None, None]
        if box is not None:  # voxel borders, so no half
            prompts["input_boxes"] = (box.to(picture.device).view(2, 2) * rows_columns).flip(1).view(1, 1, 4)
        found = self._tracker(image_embeddings=self._encode(picture), input_masks=before, multimask_output=False, **prompts)
        return found.pred_masks[:, 0].float()


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


def _surest_point(mask: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return the pixel (1, 2) of the picture where the logit is highest."""
    height, width = mask.shape[-2:]
    index = int(mask[0, 0].argmax())
    row, column = divmod(index, width)
    return torch.tensor([[(row + 0.5) * shape[0] / height - 0.5, (column + 0.5) * shape[1] / width - 0.5]], device=mask.device)
