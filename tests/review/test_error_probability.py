from __future__ import annotations

import numpy as np
from review.drawing import tube
from review.example_stack import LINE, SHAPE, SPACING, example_probability

from minivess.review.error_probability import estimate_error_probability


def test_estimate_error_probability__is_low_at_outlines() -> None:
    p = example_probability().astype(np.float32)
    error_probability = estimate_error_probability(p, p >= 0.5, SPACING)
    assert error_probability[20, 45, 8] < 0.1  # inside
    assert error_probability[20, 39, 8] == 0  # the outline, at 0.45
    assert error_probability[58, 45, 8] > 0.25  # the gap
    assert error_probability[45, 12, 4] > 0.2  # the vessel that was not predicted
    assert error_probability[100, 80, 2] < 0.05
    assert error_probability.dtype == np.float32


def test_estimate_error_probability__is_high_where_a_predicted_vessel_is_faint_all_over() -> None:
    p = np.full(SHAPE, 0.02, np.float32)
    p[tube(SHAPE, LINE, radius=4)] = 0.55
    error_probability = estimate_error_probability(p, p >= 0.5, SPACING)
    assert error_probability[60, 45, 8] > 0.4
