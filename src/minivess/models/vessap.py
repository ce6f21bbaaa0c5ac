"""VesSAP's fully convolutional network (Todorov et al. 2020, Nature Methods 17, 442; architecture of DeepVesselNet)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from minivess.errors import WeightsError
from minivess.models.value_range import USUAL_RANGE, check_range, to_unit_range

#: Kernel size and output channels of each level.
_LEVELS = ((3, 5), (5, 10), (5, 20), (3, 50))


class VessapFcn(torch.nn.Module):
    """Four convolutions and a softmax over background and vessel, whose difference is the logit of vessel."""

    def __init__(self, value_range: tuple[float, float] = USUAL_RANGE) -> None:
        """Build the network with random weights.

        Args:
            value_range: Normalised intensities that become 0 and 1.
        """
        super().__init__()
        self.value_range = check_range(value_range)
        channels, layers = 2, []
        for size, out in _LEVELS:
            layers.append(torch.nn.Conv3d(channels, out, size, padding="same"))
            channels = out
        self.levels = torch.nn.ModuleList(layers)
        self.presoftmax = torch.nn.Conv3d(channels, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of vessel.

        Args:
            x: (batch, 1, x, y, z) float, normalised intensities; both input channels get them.

        Returns:
            (batch, 1, x, y, z).
        """
        # The published kernels are ordered depth, height, width.
        y = to_unit_range(x, self.value_range).expand(-1, 2, -1, -1, -1).permute(0, 1, 4, 3, 2)
        for level in self.levels:
            y = torch.relu(level(y))
        classes = self.presoftmax(y).permute(0, 1, 4, 3, 2)
        return classes[:, 1:] - classes[:, :1]

    def load_foreign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load the published arrays, in the layout of Keras: ``level_0.0`` (d, h, w, in, out), ``level_0.1`` (out), ...

        Raises:
            WeightsError: When an array is missing, or has another shape.
        """
        own = {}
        for name, layer in [(f"level_{i}", f"levels.{i}") for i in range(len(_LEVELS))] + [("presoftmax", "presoftmax")]:
            if f"{name}.0" not in tensors or f"{name}.1" not in tensors:
                raise WeightsError(f"The file has no arrays {name}.0 and {name}.1. Use VesSAP's fcn_model_converted.npz.")
            own[f"{layer}.weight"] = tensors[f"{name}.0"].permute(4, 3, 0, 1, 2).contiguous()
            own[f"{layer}.bias"] = tensors[f"{name}.1"].contiguous()
        for key, value in self.state_dict().items():
            if own[key].shape != value.shape:
                raise WeightsError(f"{key} has shape {tuple(own[key].shape)} in the file, {tuple(value.shape)} in the network.")
        self.load_state_dict(own, strict=True)
