"""Entropy of a vessel probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def binary_entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the entropy of a two-class probability, slice by slice along the first axis to bound memory.

    Args:
        probability: Any shape, float32 in [0, 1].

    Returns:
        The same shape, float32 in nats, in [0, ln 2].
    """
    # The same as scipy.special.entr(p) + entr(1 - p) within 1.2e-7 (a test compares them), but NumPy's vectorised logarithm is
    # about six times faster, and whole volumes are computed while a user waits. entr is also -inf one rounding step above 1.
    entropy = np.empty_like(probability, dtype=np.float32)
    tiny = np.float32(np.finfo(np.float32).tiny)
    for row, out in zip(probability, entropy, strict=True):
        rest = 1.0 - row
        np.negative(row * np.log(np.maximum(row, tiny)) + rest * np.log(np.maximum(rest, tiny)), out=out)
    return entropy
