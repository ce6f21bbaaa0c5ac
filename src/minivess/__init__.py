"""MinIVess: from a folder of blood-vessel volumes to a validated segmentation model."""

__version__ = "0.1.0"
