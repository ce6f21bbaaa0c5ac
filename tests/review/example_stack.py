"""A made-up probability: a wide vessel with a gap and uncertain outlines, and a faint vessel that was not predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from review.drawing import tube

from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.review.analysis import analyse_prediction
from minivess.review.proposal import Proposal, propose_regions
from minivess.volume import Volume

SPACING = (1.0, 1.0, 5.0)
SHAPE = (120, 90, 16)
LINE = ((5, 45, 8), (115, 45, 8))


def example_probability() -> np.ndarray:
    core, outline = tube(SHAPE, LINE, radius=5), tube(SHAPE, LINE, radius=6)
    p = np.where(core, 0.97, np.where(outline, 0.45, 0.002))
    p[50:66] = np.where(outline[50:66], 0.35, 0.002)
    p[tube(SHAPE, ((20, 12, 4), (70, 12, 4)), radius=2)] = 0.4
    return p


def prediction_from(probability: np.ndarray) -> Prediction:
    affine = np.array([[-1.0, 0, 0, 300], [0, 1, 0, -20], [0, 0, 5, 7], [0, 0, 0, 1]])
    volume = Volume(probability.astype(np.float32), affine, "um")
    uncertainty = volume.with_array(binary_entropy(volume.array))
    return Prediction(volume, uncertainty, ModelRef("made", "0", "0" * 64), 0.5)


def propose(probability: np.ndarray, contrast: np.ndarray | None = None, **options: Any) -> Proposal:
    prediction = prediction_from(probability)
    contrast = probability.astype(np.float32) if contrast is None else contrast
    mask = prediction.mask.array > 0
    analysis = analyse_prediction(prediction.probability, mask, contrast, threshold=prediction.threshold)
    return propose_regions(analysis, **options)
