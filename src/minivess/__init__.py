"""MinIVess: from a folder of blood-vessel volumes to a validated segmentation model.

The library in five names; each room below has more, see ``docs/explain/architecture.md``.

>>> import minivess
>>> sample = minivess.make_sample("capillary", 0, shape=(32, 32, 8))
>>> scores = minivess.compare_masks(sample.mask.array, sample.mask.array, sample.image.spacing_um)
>>> scores.dsc, scores.cldice
(1.0, 1.0)

With a file and a trained bundle::

    volume = minivess.read_volume("stack.nii.gz", unit="um")
    prediction = minivess.predict(volume, bundle="runs/model")
    prediction.mask, prediction.probability, prediction.uncertainty
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minivess.metrics import compare_masks
    from minivess.models import Prediction, load_bundle
    from minivess.synth import make_sample
    from minivess.volume import Volume, read_volume

__version__ = "0.1.0"
__all__ = ["__version__", "compare_masks", "load_bundle", "make_sample", "predict", "read_volume"]

#: Name -> module; imported on first use, so that ``minivess --version`` does not load torch.
_LAZY = {
    "compare_masks": "minivess.metrics",
    "load_bundle": "minivess.models",
    "make_sample": "minivess.synth",
    "read_volume": "minivess.volume",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'minivess' has no attribute {name!r}")


def predict(volume: Volume, bundle: Path | str) -> Prediction:
    """Segment a volume with a trained bundle.

    Args:
        volume: The volume, in its own unit and orientation.
        bundle: Folder of the bundle, with weights.

    Returns:
        Mask, probability and uncertainty on the volume's grid.

    Raises:
        BundleError: When the bundle is refused.
        WeightsError: When it has no weights, or they do not fit.
    """
    from minivess.models import load_bundle

    return load_bundle(bundle).predict(volume)
