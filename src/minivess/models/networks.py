"""Networks that MONAI does not have."""

from __future__ import annotations

import torch


class ContrastResidual(torch.nn.Module):
    """A network that corrects a threshold on local contrast: ``slope * (x - threshold) + network(x)``.

    One threshold on local contrast is a strong segmenter. A network that starts from it needs few steps, and where its
    training data have no similar vessels it falls back on contrast rather than on chance. In dim slices single noisy voxels pass
    the threshold, too, and the network does not unlearn these specks: the bundle ``segresnet`` no longer uses it.
    """

    def __init__(self, network: torch.nn.Module, slope: float = 4.0, threshold: float = 1.0) -> None:
        """Wrap a network, and set its last convolution to zero.

        Args:
            network: (batch, 1, x, y, z) to (batch, 1, x, y, z).
            slope: Logits per unit of contrast.
            threshold: Contrast at which the logit is 0 before any training; 1 is 1.7 times the local background.
        """
        super().__init__()
        self.network = network
        self.slope = slope
        self.threshold = threshold
        last = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d)][-1]
        torch.nn.init.zeros_(last.weight)
        if last.bias is not None:
            torch.nn.init.zeros_(last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of vessel.

        Args:
            x: (batch, 1, x, y, z) float, local contrast.

        Returns:
            (batch, 1, x, y, z), of the dtype of the input.
        """
        prior = self.slope * (x[:, :1] - self.threshold)
        corrected: torch.Tensor = prior + self.network(x)
        return corrected
