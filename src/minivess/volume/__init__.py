"""Represent a volume (array, affine, unit); read, check, resample and write it."""

from minivess.volume.box import Box
from minivess.volume.grid import reorient, resample_like, resample_to_spacing
from minivess.volume.io import read_volume, write_volume
from minivess.volume.units import Unit
from minivess.volume.volume import Volume

__all__ = ["Box", "Unit", "Volume", "read_volume", "reorient", "resample_like", "resample_to_spacing", "write_volume"]
