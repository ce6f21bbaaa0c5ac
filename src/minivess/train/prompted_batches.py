"""Batches that teach a network its prompts, beside those that teach it to segment everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage

Batch = tuple[Any, ...]
Prepare = Callable[..., Batch]


class WithClicks:
    """Make clicks of some batches: the target is the vessel at a click, not all vessels (He et al. 2024, arXiv 2406.05285)."""

    def __init__(self, prepare: Prepare, share: float = 0.25, seed: int = 0) -> None:
        """Store the settings.

        Args:
            prepare: Returns image and target of a batch; see :class:`minivess.train.soft_targets.WithSoftTargets`.
            share: Share of the batches, in [0, 1].
            seed: Seed of which batches, and of the clicks.
        """
        self.prepare, self.share = prepare, share
        self._random = np.random.default_rng(seed)

    def __call__(self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **to_options: Any) -> Batch:
        """Return image and target, and for a batch of clicks the further arguments of the network.

        Args:
            batch: ``image`` and ``label``, (batch, 1, x, y, z) each.
            device: Where the network is.
            non_blocking: As of :meth:`torch.Tensor.to`.
            **to_options: Further options of it.
        """
        image, target = self.prepare(batch, device, non_blocking, **to_options)
        label = target[:, :1]
        if self._random.random() >= self.share or not bool((label > 0).flatten(1).any(1).all()):
            return image, target
        chosen = [self._click(one[0].cpu().numpy()) for one in label]
        wanted = torch.stack([torch.from_numpy(mask) for _, mask in chosen])[:, None].to(target)
        points = torch.stack([torch.from_numpy(point) for point, _ in chosen])[:, None].to(device)
        return image, wanted, (), {"points": points, "point_labels": torch.ones(len(points), 1, dtype=torch.long, device=device)}

    def _click(self, label: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Choose a voxel (3,) of a vessel, and return it with the label of that vessel alone; -1 stays."""
        voxels = np.argwhere(label > 0)
        point = voxels[self._random.integers(len(voxels))]
        pieces, _ = ndimage.label(label > 0, np.ones((3, 3, 3)))
        return point, np.where(label < 0, label, pieces == pieces[tuple(point)]).astype(np.float32)


class WithWrongConcepts:
    """Make some batches ask for a concept that is not vessel, where nothing is to be found: text prompts keep their meaning."""

    def __init__(self, prepare: Prepare, concepts: Sequence[str], share: float = 0.2, seed: int = 0) -> None:
        """Store the settings.

        Args:
            prepare: Returns image and target of a batch.
            concepts: The wrong concepts, of those that the network has.
            share: Share of the batches, in [0, 1].
            seed: Seed of which batches, and of the concepts.
        """
        self.prepare, self.concepts, self.share = prepare, tuple(concepts), share
        self._random = np.random.default_rng(seed)

    def __call__(self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **to_options: Any) -> Batch:
        """Return image and target, and for a wrong concept an empty target and the concept.

        Args:
            batch: ``image`` and ``label``, (batch, 1, x, y, z) each.
            device: Where the network is.
            non_blocking: As of :meth:`torch.Tensor.to`.
            **to_options: Further options of it.
        """
        image, target = self.prepare(batch, device, non_blocking, **to_options)
        if not self.concepts or self._random.random() >= self.share:
            return image, target
        concept = self.concepts[self._random.integers(len(self.concepts))]
        return image, torch.where(target[:, :1] < 0, target[:, :1], 0.0), (), {"concept": concept}
