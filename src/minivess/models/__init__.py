"""Load MONAI bundles, checked as text and with safe weights, and predict with them."""

from minivess.models.bundle import (
    INFERENCE_HASH,
    RELEASE_MARK,
    accepted_prompts,
    base_path,
    load_bundle,
    model_reference,
    pick_device,
    weights_path,
)
from minivess.models.bundle_check import check_bundle, check_overrides
from minivess.models.bundle_segmenter import BundleSegmenter
from minivess.models.entropy import binary_entropy
from minivess.models.normalise import MODALITIES
from minivess.models.segmenter import Capabilities, Click, ModelRef, Prediction, Progress, Segmenter
from minivess.models.weights import load_weights, read_metadata, save_weights

__all__ = [
    "INFERENCE_HASH",
    "MODALITIES",
    "RELEASE_MARK",
    "BundleSegmenter",
    "Capabilities",
    "Click",
    "ModelRef",
    "Prediction",
    "Progress",
    "Segmenter",
    "accepted_prompts",
    "base_path",
    "binary_entropy",
    "check_bundle",
    "check_overrides",
    "load_bundle",
    "load_weights",
    "model_reference",
    "pick_device",
    "read_metadata",
    "save_weights",
    "weights_path",
]
