"""Features of a predicted case that go with its quality: how the mask is shaped, and how sure the model is."""

from __future__ import annotations

import cc3d
import numpy as np

from minivess.metrics.morphology import Morphology, measure_vessels
from minivess.models import Prediction
from minivess.uncertainty.case_score import expected_errors_per_predicted_voxel, soft_dice_confidence

#: Pieces of fewer voxels are small.
_SMALL = 50


def case_features(prediction: Prediction, measured: Morphology | None = None) -> dict[str, float]:
    """Compute features of a prediction; none of them needs the truth.

    Lengths are per mm and volumes per mm3, so that stacks of different size can be compared.

    Args:
        prediction: The prediction of one case.
        measured: What was measured of its mask, in mm; it takes a skeleton, and is measured here otherwise.
    """
    probability, mask = prediction.probability.array, prediction.mask.array > 0
    spacing_um = prediction.mask.spacing_um
    measured = measured or measure_vessels(mask, spacing_um)
    volume_mm3, length_mm = mask.size * float(np.prod(spacing_um)) / 1e9, max(measured.length_mm, 1e-6)
    sizes = np.sort(cc3d.statistics(cc3d.connected_components(mask, connectivity=26))["voxel_counts"][1:])[::-1]
    voxels = max(int(mask.sum()), 1)
    slices = mask.mean(axis=(0, 1))
    unsure = (probability > 0.2) & (probability < 0.8)
    return {
        "vessel_share": float(mask.mean()),
        "length_density_mm_per_mm3": measured.length_mm / volume_mm3,
        "mean_diameter_um": 1000 * measured.mean_diameter_mm,
        "branch_points_per_mm": measured.branch_points / length_mm,
        "pieces_per_mm": measured.components / length_mm,
        "share_of_largest_piece": float(sizes[0]) / voxels if len(sizes) else 0.0,
        "share_in_small_pieces": float(sizes[sizes < _SMALL].sum()) / voxels,
        "empty_slices": float((slices == 0).mean()),
        "variation_between_slices": float(slices.std() / max(slices.mean(), 1e-9)),
        "expected_errors_per_predicted_voxel": expected_errors_per_predicted_voxel(probability, prediction.threshold),
        "soft_dice_confidence": soft_dice_confidence(probability, prediction.threshold),
        "mean_probability_inside": float(probability[mask].mean()) if mask.any() else 0.0,
        "mean_probability_outside": float(probability[~mask].mean()) if not mask.all() else 0.0,
        "unsure_per_predicted_voxel": float(unsure.sum()) / voxels,
        "mean_uncertainty_inside": float(prediction.uncertainty.array[mask].mean()) if mask.any() else 0.0,
        "highest_probability": float(probability.max()),
    }
