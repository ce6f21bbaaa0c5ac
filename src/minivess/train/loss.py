"""What a vessel network is trained to make small."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss, SoftclDiceLoss

_SURELY_NOT = -30.0  # a logit


class VesselLoss(torch.nn.Module):
    """Dice and cross-entropy for the mask, plus a soft clDice term for its centre-lines (Shit et al., CVPR 2021).

    A little clDice buys connected vessels; much of it costs Dice. The term is computed in float32 whatever the autocast.
    Where nobody has looked (a target below 0) the network may say what it likes: there it counts as right, and sure of it.
    """

    def __init__(self, cldice_weight: float = 0.2, cldice_iterations: int = 3) -> None:
        """Choose the weight of the clDice term (0 leaves it out) and its number of erosions: the widest radius in voxels."""
        super().__init__()
        self.dice_ce = DiceCELoss(sigmoid=True, batch=True)
        self.cldice = SoftclDiceLoss(iter_=cldice_iterations, sigmoid=True)
        self.cldice_weight = cldice_weight

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Score (batch, 1, x, y, z) logits against masks of 0, 1, and -1 where nobody has looked."""
        unreviewed = target < 0
        logits, target = logits.float().masked_fill(unreviewed, _SURELY_NOT), target.float().clamp(min=0)
        loss: torch.Tensor = self.dice_ce(logits, target)
        if self.cldice_weight > 0:
            loss = loss + self.cldice_weight * self.cldice(logits, target)
        return loss
