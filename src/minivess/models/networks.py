"""Networks that MONAI does not have."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


class ContrastResidual(torch.nn.Module):
    """A network that corrects a threshold on local contrast: ``slope * (smooth(x) - threshold) + network(x)``.

    One threshold on local contrast is a strong segmenter. A network that starts from it needs few steps, and where its
    training data have no similar vessels it falls back on contrast rather than on chance. The contrast is smoothed in each slice
    first: in a dim slice, single noisy voxels pass the threshold, and a mask of specks is what a network does not unlearn.
    """

    kernel: torch.Tensor

    def __init__(self, network: torch.nn.Module, slope: float = 4.0, threshold: float = 1.0, smoothing: float = 0.0) -> None:
        """Wrap a network, and set its last convolution to zero.

        Args:
            network: (batch, 1, x, y, z) to (batch, 1, x, y, z).
            slope: Logits per unit of contrast.
            threshold: Contrast at which the logit is 0 before any training; 1 is 1.7 times the local background.
            smoothing: Standard deviation of the smoothing in voxels in plane; 0 for none.
        """
        super().__init__()
        self.network = network
        self.slope = slope
        self.threshold = threshold
        last = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d)][-1]
        torch.nn.init.zeros_(last.weight)
        if last.bias is not None:
            torch.nn.init.zeros_(last.bias)
        reach = math.ceil(2 * smoothing)
        line = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * max(smoothing, 1e-6) ** 2))
        self.register_buffer("kernel", line / line.sum(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of vessel.

        Args:
            x: (batch, 1, x, y, z) float, local contrast.

        Returns:
            (batch, 1, x, y, z), of the dtype of the input.
        """
        corrected: torch.Tensor = self.slope * (self._smooth(x[:, :1]) - self.threshold) + self.network(x)
        return corrected

    def _smooth(self, x: torch.Tensor) -> torch.Tensor:
        """Smooth in plane by a Gaussian; the border is repeated."""
        reach = len(self.kernel) // 2
        if reach == 0:
            return x
        kernel = self.kernel.to(x.dtype)
        padded = functional.pad(x, (0, 0, reach, reach, reach, reach), mode="replicate")
        return functional.conv3d(functional.conv3d(padded, kernel.reshape(1, 1, -1, 1, 1)), kernel.reshape(1, 1, 1, -1, 1))
