"""Apply a network for pictures to the planes of a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from minivess.errors import BundleError

#: Orientation of the planes -> axis of (x, y, z) that is perpendicular to them.
PLANES = {"xy": 2, "xz": 1, "yz": 0}


def check_planes(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of orientations.

    Raises:
        BundleError: When there is none, or one is unknown or named twice.
    """
    if not names or len(set(names)) != len(names) or not set(names) <= set(PLANES):
        raise BundleError(f"planes is {list(names)!r}. Allowed: one or more of {', '.join(PLANES)}, each once.")
    return tuple(names)


def plane_logits(
    network: Callable[[torch.Tensor], torch.Tensor], window: torch.Tensor, plane: str, *, at_once: int
) -> torch.Tensor:
    """Predict a window plane by plane.

    Args:
        network: (pictures, 1, height, width) to logits of the same shape.
        window: (batch, 1, x, y, z) float.
        plane: Key of :data:`PLANES`.
        at_once: Number of pictures in one call; bounds the memory.

    Returns:
        (batch, 1, x, y, z) logits.
    """
    axis = PLANES[plane] + 2
    pictures = window.movedim(axis, 1).flatten(0, 1)  # (batch * planes, 1, height, width)
    logits = torch.cat([network(part) for part in pictures.split(at_once)])
    return logits.unflatten(0, (window.shape[0], window.shape[axis])).movedim(1, axis)


def consensus(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Average the probabilities of several predictions, as logits.

    Args:
        logits: Tensors of one shape, at least one.
    """
    if len(logits) == 1:
        return logits[0]
    mean = torch.stack([value.float().sigmoid() for value in logits]).mean(0)
    return torch.logit(mean, eps=1e-6).to(logits[0].dtype)
