"""Uncertainty of a prediction: per voxel, per case, calibration and conformal risk control."""

from minivess.uncertainty.case_score import expected_errors_per_predicted_voxel, soft_dice_confidence
from minivess.uncertainty.conformal import Zones, control_risk, length_curve, voxel_curve
from minivess.uncertainty.passes import VoxelUncertainty, combine

__all__ = [
    "VoxelUncertainty",
    "Zones",
    "combine",
    "control_risk",
    "expected_errors_per_predicted_voxel",
    "length_curve",
    "soft_dice_confidence",
    "voxel_curve",
]
