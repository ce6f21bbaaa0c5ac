"""A volume: a 3-D array with an affine and a unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.volume.checks import check_affine
from minivess.volume.units import UM_PER_UNIT, Unit, parse_unit, to_um

#: Two grids are the same when corresponding voxels are nearer than this, in edges of the smallest voxel. Programs write direction
#: cosines with five decimals, and sform and qform in float32, which moves the far corner of a large volume by some hundredths.
GRID_TOLERANCE = 0.1


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image with the position of its voxels in space.

    Attributes:
        array: Axes (x, y, z), any real or boolean dtype, native byte order.
        affine: (4, 4) float64, voxel index to RAS, in ``unit``.
        unit: Unit of the affine: ``"mm"`` or ``"um"``.

    Raises:
        InputError: When the array is not 3-D, empty or not numeric, or the unit is unknown.
        GeometryError: When the affine is not finite and invertible, or its spacing is out of range.

    Example:
        >>> volume = Volume(np.zeros((4, 3, 2), np.uint8), np.diag([0.5, 0.5, 2.0, 1.0]), "um")
        >>> volume.shape, volume.spacing, volume.axis_codes
        ((4, 3, 2), (0.5, 0.5, 2.0), 'RAS')
        >>> volume.in_unit("mm").spacing
        (0.0005, 0.0005, 0.002)
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    unit: Unit

    def __post_init__(self) -> None:
        """Check the arguments and convert the array to native byte order."""
        parse_unit(self.unit)
        array = np.asarray(self.array)
        if array.ndim != 3 or 0 in array.shape:
            raise InputError(f"A volume has three axes (x, y, z), each of at least one voxel. Got shape {array.shape}.")
        if array.dtype.kind not in "buif":
            raise InputError(f"The voxels must be real numbers or booleans. Got dtype {array.dtype}.")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        affine = np.array(self.affine, dtype=np.float64)
        check_affine(affine, um_per_unit=UM_PER_UNIT[self.unit])
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        x, y, z = self.array.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along x, y, z, in ``unit``."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def spacing_um(self) -> tuple[float, float, float]:
        """Distance between voxel centres along x, y, z, in micrometres."""
        x, y, z = to_um(self.spacing, self.unit).tolist()
        return x, y, z

    @property
    def axis_codes(self) -> str:
        """Anatomical direction of each axis, for example ``"RAS"``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    def with_array(self, array: NDArray[Any]) -> Volume:
        """Return a volume with another array of the same shape, on the same grid.

        Raises:
            GeometryError: When the shapes differ.
        """
        if array.shape != self.array.shape:
            raise GeometryError(f"The array must have the shape of the grid, {self.shape}. Got {array.shape}.")
        return replace(self, array=array)

    def in_unit(self, unit: Unit) -> Volume:
        """Return the same volume with its affine in another unit."""
        affine = self.affine.copy()
        affine[:3] *= UM_PER_UNIT[self.unit] / UM_PER_UNIT[unit]
        return replace(self, affine=affine, unit=unit)

    def same_grid(self, other: Volume) -> bool:
        """Return whether two volumes have the same shape, and voxels at the same positions within :data:`GRID_TOLERANCE`."""
        return self.shape == other.shape and self.distance_in_voxels(other) <= GRID_TOLERANCE

    def distance_in_voxels(self, other: Volume) -> float:
        """Return the largest distance between corresponding voxels of two volumes, in edges of the smallest voxel.

        Args:
            other: Volume of the same shape, in any unit.
        """
        return largest_distance(self.affine, other.in_unit(self.unit).affine, self.shape) / min(self.spacing)


def largest_distance(affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the largest distance between corresponding voxels of two grids, in the unit of the affines.

    Args:
        affine: (4, 4) float64, voxel index to position.
        other: (4, 4) float64, the affine of the other grid.
        shape: Number of voxels along x, y, z.
    """
    corners = np.array([[*corner, 1] for corner in product(*((0, n - 1) for n in shape[:3]))], np.float64)
    return float(np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max())


def affine_from_spacing(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the (4, 4) affine of an axis-aligned volume whose first voxel is at the origin."""
    return np.diag([*spacing, 1.0]).astype(np.float64)
