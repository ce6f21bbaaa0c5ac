"""How unsure is a prediction: per voxel, per case, and what can be promised of it."""

from minivess.uncertainty.case_score import expected_errors_per_predicted_voxel, soft_dice_confidence
from minivess.uncertainty.conformal import Zones, control_risk, length_curve, voxel_curve
from minivess.uncertainty.members import VoxelUncertainty, ask_members, ask_mirrored, ask_with_dropout, combine, expected_error
from minivess.uncertainty.temperature import apply_temperature, count_logits, fit_temperature

__all__ = [
    "VoxelUncertainty",
    "Zones",
    "apply_temperature",
    "ask_members",
    "ask_mirrored",
    "ask_with_dropout",
    "combine",
    "control_risk",
    "count_logits",
    "expected_error",
    "expected_errors_per_predicted_voxel",
    "fit_temperature",
    "length_curve",
    "soft_dice_confidence",
    "voxel_curve",
]
