"""How unsure is a prediction."""

from minivess.uncertainty.case_score import expected_errors_per_predicted_voxel

__all__ = ["expected_errors_per_predicted_voxel"]
