"""Uncertainty of a prediction: per voxel, per case, calibration and conformal risk control."""

from minivess.uncertainty.case_score import expected_errors_per_predicted_voxel, soft_dice_confidence
from minivess.uncertainty.conformal import Zones, control_risk, length_curve, voxel_curve
from minivess.uncertainty.passes import (
    VoxelUncertainty,
    combine,
    expected_error,
    predict_mc_dropout,
    predict_members,
    predict_tta,
)
from minivess.uncertainty.temperature import apply_temperature, count_logits, fit_temperature

__all__ = [
    "VoxelUncertainty",
    "Zones",
    "apply_temperature",
    "combine",
    "control_risk",
    "count_logits",
    "expected_error",
    "expected_errors_per_predicted_voxel",
    "fit_temperature",
    "length_curve",
    "predict_mc_dropout",
    "predict_members",
    "predict_tta",
    "soft_dice_confidence",
    "voxel_curve",
]
