"""The model that answers clicks and boxes: the one that segments the studies, or a bundle of its own beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from minivess.errors import InputError
from minivess.jobs import current_job
from minivess.models import Segmenter, pick_device
from minivess.models.segmenter import PromptKind
from minivess.review.prompts import MaskChange
from minivess.volume import Box, Volume


class PromptModel:
    """A segmenter that is asked for the object at a prompt."""

    def __init__(self, kinds: frozenset[PromptKind], segmenter: Callable[[], Segmenter]) -> None:
        """Offer a segmenter.

        Args:
            kinds: Kinds of prompts that it takes.
            segmenter: Returns it; called for each prompt, since a training may have published another.
        """
        self.kinds = kinds
        self._segmenter = segmenter

    def segment(self, image: Volume, prompts: Mapping[PromptKind, Any]) -> MaskChange:
        """Segment the object at a prompt as soon as the device is free.

        Args:
            image: The image.
            prompts: Kind -> prompt, see :meth:`minivess.models.Segmenter.predict`.

        Raises:
            InputError: When a prompt is outside the image, or the model finds nothing there.
        """
        job = current_job()
        with job.hold_lock(str(pick_device(None))):
            found = self._segmenter().predict(image, prompts, progress=job.progress).mask.array > 0
        box = Box.around(found)
        if box is None:
            raise InputError("The model finds no vessel there. Click on its middle, enclose it, or use another tool.")
        return MaskChange(found[box.slices], box.low)
