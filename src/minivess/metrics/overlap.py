"""Compute the overlap of two masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.metrics.masks import as_pair


def dsc(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Compute the Dice similarity coefficient, ``2 |A and B| / (|A| + |B|)``.

    Args:
        reference: (x, y, z) mask.
        prediction: (x, y, z) mask.

    Returns:
        A number in [0, 1]; 1 when both masks are empty, 0 when exactly one is empty.

    Raises:
        InputError: When the arrays are not two masks of one shape.
    """
    a, b = as_pair(reference, prediction)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0
