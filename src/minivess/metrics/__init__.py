"""Compute the quality of a mask from arrays and spacing."""

from minivess.metrics.betti import betti_numbers
from minivess.metrics.centreline import THINNING, centreline_from_mask, cldice
from minivess.metrics.overlap import dsc
from minivess.metrics.scores import MaskScores, compare_masks
from minivess.metrics.surface import SurfaceDistances, surface_distances

__all__ = [
    "THINNING",
    "MaskScores",
    "SurfaceDistances",
    "betti_numbers",
    "centreline_from_mask",
    "cldice",
    "compare_masks",
    "dsc",
    "surface_distances",
]
