"""Which segmenters are there, and how does one predict; bundles are loaded here, statically checked, with safe weights."""

from minivess.models.bundle import BundleSegmenter, load_bundle, pick_device, weights_path
from minivess.models.bundle_check import check_bundle, check_overrides
from minivess.models.normalise import MODALITIES
from minivess.models.segmenter import Capabilities, ModelRef, Prediction, Progress, Roi, Segmenter, binary_entropy
from minivess.models.weights import load_weights, read_notes, save_weights

__all__ = [
    "MODALITIES",
    "BundleSegmenter",
    "Capabilities",
    "ModelRef",
    "Prediction",
    "Progress",
    "Roi",
    "Segmenter",
    "binary_entropy",
    "check_bundle",
    "check_overrides",
    "load_bundle",
    "load_weights",
    "pick_device",
    "read_notes",
    "save_weights",
    "weights_path",
]
