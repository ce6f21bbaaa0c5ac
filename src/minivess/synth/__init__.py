"""Generate synthetic vessel volumes with known ground truth."""

from minivess.synth.graph import VesselGraph
from minivess.synth.sample import KINDS, Kind, SyntheticSample, make_sample

__all__ = ["KINDS", "Kind", "SyntheticSample", "VesselGraph", "make_sample"]
