"""A box of voxels: the one type for every crop, region and prompt window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Index = tuple[int, int, int]


class Box(NamedTuple):
    """Half-open voxel bounds along x, y and z: ``x0 <= x < x1``. Its JSON form is the list of the six integers."""

    x0: int
    x1: int
    y0: int
    y1: int
    z0: int
    z1: int

    @staticmethod
    def from_json(values: Iterable[Any]) -> Box:
        """Read six numbers.

        Raises:
            ValueError: When there are not six, or one is not a number.
            TypeError: When one is of another type, such as None.
        """
        numbers = [int(value) for value in values]
        if len(numbers) != 6:
            raise ValueError(f"a box is six integers, x0 x1 y0 y1 z0 z1; got {len(numbers)}")
        return Box(*numbers)

    @staticmethod
    def from_corners(low: Sequence[int] | NDArray[Any], high: Sequence[int] | NDArray[Any]) -> Box:
        """Build the box from its first voxel and the voxel after its last one.

        Args:
            low: First voxel (x, y, z).
            high: One past the last voxel (x, y, z).
        """
        return Box(*(int(value) for pair in zip(low, high, strict=True) for value in pair))

    @staticmethod
    def around(mask: NDArray[np.bool_]) -> Box | None:
        """Return the smallest box that holds all set voxels of an (x, y, z) mask; None when none is set."""
        if not mask.any():
            return None
        found = ndimage.find_objects(mask.astype(np.uint8, copy=False))
        return Box.from_corners([s.start for s in found[0]], [s.stop for s in found[0]])

    @property
    def low(self) -> Index:
        """First voxel (x, y, z)."""
        return self.x0, self.y0, self.z0

    @property
    def high(self) -> Index:
        """One past the last voxel (x, y, z)."""
        return self.x1, self.y1, self.z1

    @property
    def shape(self) -> Index:
        """Number of voxels along x, y and z."""
        return self.x1 - self.x0, self.y1 - self.y0, self.z1 - self.z0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box into an (x, y, z) array."""
        return slice(self.x0, self.x1), slice(self.y0, self.y1), slice(self.z0, self.z1)

    def shifted(self, offset: Sequence[int] | NDArray[Any]) -> Box:
        """Return the box moved by ``offset`` voxels (x, y, z)."""
        return Box.from_corners(np.add(self.low, offset), np.add(self.high, offset))

    def relative_to(self, origin: Sequence[int] | NDArray[Any]) -> Box:
        """Return the box in the coordinates of an array that starts at ``origin`` (x, y, z)."""
        return self.shifted(np.negative(origin))

    def grown(self, margin: Sequence[int] | NDArray[Any], shape: Sequence[int]) -> Box:
        """Return the box with more voxels on all sides, as far as an array goes.

        Args:
            margin: Number of voxels (x, y, z) on each side.
            shape: Shape of the array (x, y, z).
        """
        return Box.from_corners(np.maximum(np.subtract(self.low, margin), 0), np.minimum(np.add(self.high, margin), shape))

    def intersect(self, other: Box) -> Box | None:
        """Return the voxels that both boxes hold; None when they share none."""
        low, high = np.maximum(self.low, other.low), np.minimum(self.high, other.high)
        return Box.from_corners(low, high) if (low < high).all() else None

    def contains(self, point: Sequence[int]) -> bool:
        """Return whether the voxel ``point`` (x, y, z) lies inside."""
        return all(a <= p < b for a, p, b in zip(self.low, point, self.high, strict=True))

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether the box is not empty and lies inside an array of ``shape`` (x, y, z)."""
        return all(0 <= a < b <= n for a, b, n in zip(self.low, self.high, shape, strict=True))
