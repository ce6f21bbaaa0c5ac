"""Several models as one: ensembles, which are bundles themselves, and merged weights."""

from minivess.ensemble.merge import METHODS, merge_weights
from minivess.ensemble.segmenter import EnsembleSegmenter
from minivess.ensemble.write import write_ensemble

__all__ = ["METHODS", "EnsembleSegmenter", "merge_weights", "write_ensemble"]
