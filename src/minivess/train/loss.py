"""The loss function of vessel networks."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss, SoftclDiceLoss
from torch.nn import functional

_CERTAIN_BACKGROUND = -30.0  # a logit


class VesselLoss(torch.nn.Module):
    """Dice and cross-entropy for the mask, plus a soft clDice term for its centre-lines (Shit et al., CVPR 2021).

    A small weight of clDice improves connectivity; a large one reduces Dice. The term is computed in float32 also under
    autocast. Unreviewed voxels (a target below 0) do not count: they enter as correct and certain, with gradient 0. Where the
    target has a second channel, its probabilities are soft targets there.

    Example:
        >>> target = torch.zeros(1, 1, 8, 8, 8).index_fill(2, torch.arange(2, 4), 1.0)
        >>> loss = VesselLoss()
        >>> bool(loss(20 * target - 10, target) < loss(10 - 20 * target, target))
        True
    """

    def __init__(self, cldice_weight: float = 0.2, cldice_iterations: int = 3, soft_weight: float = 0.0) -> None:
        """Build the loss.

        Args:
            cldice_weight: Weight of the clDice term; 0 leaves it out.
            cldice_iterations: Number of erosions of the soft skeleton: the largest vessel radius in voxels.
            soft_weight: Weight of the cross-entropy with soft targets, relative to that with the label.
        """
        super().__init__()
        self.dice_ce = DiceCELoss(sigmoid=True, batch=True)
        self.cldice = SoftclDiceLoss(iter_=cldice_iterations, sigmoid=True)
        self.cldice_weight = cldice_weight
        self.soft_weight = soft_weight

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the loss.

        Args:
            logits: (batch, 1, x, y, z) float, any dtype.
            target: (batch, 1 or 2, x, y, z): 0 background, 1 vessel, -1 not reviewed; a soft target in [0, 1].

        Returns:
            A scalar, float32.
        """
        label, soft = target[:, :1].float(), target[:, 1:].float()
        unreviewed = label < 0
        all_logits, logits = logits.float(), logits.float().masked_fill(unreviewed, _CERTAIN_BACKGROUND)
        target = label.clamp(min=0)
        loss: torch.Tensor = self.dice_ce(logits, target)
        if soft.shape[1]:
            by_voxel = functional.binary_cross_entropy_with_logits(all_logits, soft, reduction="none")
            loss = loss + self.soft_weight * (by_voxel * unreviewed).mean()
        if self.cldice_weight > 0:
            loss = loss + self.cldice_weight * self.cldice(logits, target)
        return loss
