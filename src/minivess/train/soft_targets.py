"""What the model before says where nobody has looked, as a target beside the label: learning without forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.engines import default_prepare_batch

from minivess.datasets import UNREVIEWED
from minivess.models.weights import load_weights
from minivess.train.handlers import unwrapped


class WithSoftTargets:
    """Prepare a batch for a trainer: the label, and beside it the probability of the weights that the training started from.

    A review answers the places where the model is unsure. Trained on them alone it forgets what it knew of the others; its own
    probabilities there keep it (Li & Hoiem 2016, arXiv 1606.09282). Of rehearsed cases nothing is to be learned: their label
    counts as not reviewed, and the probabilities before are the target everywhere (Buzzega et al. 2020, arXiv 2004.07211).
    Batches that are reviewed as a whole need no second channel.
    """

    def __init__(self, network: torch.nn.Module, weights: str, weight: float) -> None:
        """Store the settings.

        Args:
            network: The network that is trained; a copy of it gives the probabilities.
            weights: Safetensors file that the training starts from; without one there are no soft targets.
            weight: Weight of the soft targets in the loss; at 0 there are none.
        """
        self.network = network
        self.weights = weights if weight > 0 else ""
        self._before: torch.nn.Module | None = None

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **to_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image and target, (batch, 1 or 2, x, y, z): the label, and the probability before where it is needed.

        Args:
            batch: ``image`` and ``label``, (batch, 1, x, y, z) each; the label is -1 where nobody has looked. Whether each case
                is ``rehearsed``, (batch,) bool.
            device: Where the network is.
            non_blocking: As of :meth:`torch.Tensor.to`.
            **to_options: Further options of it.
        """
        image, label = default_prepare_batch(batch, device, non_blocking, **to_options)
        if not self.weights:
            return image, label
        label = label.clone()
        label[torch.as_tensor(batch.get("rehearsed", False), device=label.device).expand(len(label))] = UNREVIEWED
        if not bool((label < 0).any()):
            return image, label
        if self._before is None:
            self._before = deepcopy(unwrapped(self.network)).eval()
            load_weights(self._before, Path(self.weights))
        with torch.no_grad():
            probability = torch.sigmoid(self._before(image).float())
        return image, torch.cat([label, probability.to(label.dtype)], dim=1)
