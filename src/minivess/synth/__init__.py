"""Generate synthetic vessel volumes with known ground truth."""

from minivess.synth.graph import VesselGraph
from minivess.synth.microscope import TwoPhotonOptics
from minivess.synth.sample import KINDS, Kind, SyntheticSample, make_sample

__all__ = ["KINDS", "Kind", "SyntheticSample", "TwoPhotonOptics", "VesselGraph", "make_sample"]
