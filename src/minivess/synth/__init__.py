"""What does a made-up vessel volume with known truth look like: the embedded default that a user meets first."""

from minivess.synth.graph import VesselGraph
from minivess.synth.sample import KINDS, Kind, SyntheticSample, make_sample

__all__ = ["KINDS", "Kind", "SyntheticSample", "VesselGraph", "make_sample"]
