"""VISTA-3D (He et al. 2024, arXiv 2406.05285) as a network for one class: vessel."""

from __future__ import annotations

import torch
from monai.networks.nets.vista3d import vista3d132
from torch.nn.functional import interpolate, pad

from minivess.errors import BundleError
from minivess.models.value_range import USUAL_RANGE, check_range, to_unit_range

#: Windows are padded to multiples of this.
_MULTIPLE = 16
#: And to this at least: an instance normalisation needs more than one voxel at the coarsest level.
_SMALLEST = 32
#: Classes up to this one are those of NVIDIA's checkpoint; the ones above are free for new classes.
LAST_SUPPORTED_CLASS = 132
_CLASSES = 512


class Vista3dVessel(torch.nn.Module):
    """VISTA-3D with the class prompt fixed to vessel, and with clicks.

    Stacks with far slices are interpolated along z inside the network, since its kernels expect about cubic voxels.
    """

    prompts = frozenset({"point"})

    def __init__(
        self,
        encoder_embed_dim: int = 48,
        *,
        vessel_class: int = LAST_SUPPORTED_CLASS + 1,
        z_factor: int = 2,
        value_range: tuple[float, float] = USUAL_RANGE,
    ) -> None:
        """Build the network with random weights.

        Args:
            encoder_embed_dim: Width; 48 is that of NVIDIA's checkpoint.
            vessel_class: Index of the class prompt. A new class by default: the checkpoint knows no small vessels.
            z_factor: How many times finer the slices are interpolated.
            value_range: Normalised intensities that become 0 and 1, as the checkpoint expects.

        Raises:
            BundleError: When the class or the factor is out of range.
        """
        super().__init__()
        if not 0 < vessel_class < _CLASSES or z_factor < 1:
            raise BundleError(f"vessel_class is 1 to {_CLASSES - 1}, z_factor at least 1. Got {vessel_class} and {z_factor}.")
        self.network = vista3d132(encoder_embed_dim=encoder_embed_dim, in_channels=1)
        self.vessel_class, self.z_factor = vessel_class, z_factor
        self.value_range = check_range(value_range)

    def forward(
        self, x: torch.Tensor, points: torch.Tensor | None = None, point_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the logits of vessel, or of the vessels at clicks.

        Args:
            x: (batch, 1, x, y, z) float, normalised intensities.
            points: (batch, clicks, 3) voxels.
            point_labels: (batch, clicks) 1 for the object, 0 for what is not the object; needed with points.

        Returns:
            (batch, 1, x, y, z).
        """
        if points is not None and point_labels is not None:
            return torch.cat([self.click_logits(*one) for one in zip(x[:, None], points, point_labels, strict=True)])
        prompt = torch.tensor([[self.vessel_class]], device=x.device)
        fine = self._prepare(x)
        logits = torch.cat([self.network(one[None], class_vector=prompt) for one in fine])
        return self._back(logits, x)

    def click_logits(self, x: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the logits of the object at clicks.

        Args:
            x: (1, 1, x, y, z) float, normalised intensities.
            points: (clicks, 3) voxels of the window.
            labels: (clicks,) 1 for the object, 0 for what is not the object.

        Returns:
            (1, 1, x, y, z).
        """
        prompt = torch.tensor([[self.vessel_class]], device=x.device)
        fine_points = points.float() * torch.tensor([1, 1, self.z_factor], device=points.device)
        clicks = {"point_coords": fine_points[None].to(x.device), "point_labels": labels[None].to(x.device)}
        logits = self.network(self._prepare(x), **clicks, prompt_class=prompt)
        return self._back(logits, x)

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        scaled = to_unit_range(x, self.value_range)
        *plane, slices = x.shape[2:]
        fine = interpolate(scaled, size=(*plane, slices * self.z_factor), mode="trilinear", align_corners=False)
        missing = [max(_SMALLEST, n + -n % _MULTIPLE) - n for n in reversed(fine.shape[2:])]
        return pad(fine, [side for n in missing for side in (0, n)], mode="replicate")

    def _back(self, logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        width, height, slices = x.shape[2:]
        cropped = logits[:, :, :width, :height, : slices * self.z_factor]
        return interpolate(cropped.float(), size=tuple(x.shape[2:]), mode="trilinear", align_corners=False).to(x.dtype)
