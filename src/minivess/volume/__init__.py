"""What is a volume: array, affine, unit; how is one read, checked, resampled, written."""

from minivess.volume.grid import reorient, resample_like, resample_to_spacing
from minivess.volume.io import read_volume, write_volume
from minivess.volume.model import Unit, Volume

__all__ = ["Unit", "Volume", "read_volume", "reorient", "resample_like", "resample_to_spacing", "write_volume"]
