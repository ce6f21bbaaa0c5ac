"""How good is a mask: arrays and spacing in, numbers out."""

from minivess.metrics.betti import betti_numbers
from minivess.metrics.centreline import THINNING, centreline_of, cldice
from minivess.metrics.overlap import dsc
from minivess.metrics.scores import MaskScores, compare_masks
from minivess.metrics.surface import SurfaceDistances, surface_distances

__all__ = [
    "THINNING",
    "MaskScores",
    "SurfaceDistances",
    "betti_numbers",
    "centreline_of",
    "cldice",
    "compare_masks",
    "dsc",
    "surface_distances",
]
