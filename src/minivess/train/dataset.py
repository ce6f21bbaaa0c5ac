"""The address of ``items`` in configurations of bundles that were made before data sets had a room of their own."""

from minivess.datasets import items

__all__ = ["items"]
