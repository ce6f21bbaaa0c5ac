"""Represent a volume (array, affine, unit); read, check, resample and write it."""

from minivess.volume.box import Box
from minivess.volume.grid import reorient
from minivess.volume.io import read_volume, write_volume
from minivess.volume.units import Unit
from minivess.volume.volume import Volume

__all__ = ["Box", "Unit", "Volume", "read_volume", "reorient", "write_volume"]
