"""The noun itself: an array on a grid in space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.volume.checks import check_affine

Unit = Literal["mm", "um"]
UM_PER = {"um": 1.0, "mm": 1000.0}


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image and where its voxels lie.

    Attributes:
        array: Axes (x, y, z), any real or boolean dtype, native byte order.
        affine: 4x4 float64, voxel index to RAS, in ``unit``.
        unit: What 1.0 in the affine means: ``"mm"`` or ``"um"``.

    Raises:
        InputError: When the array is not 3-D, empty or not numeric, or the unit is unknown.
        GeometryError: When the affine is not finite and invertible, or its spacing is out of range.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    unit: Unit

    def __post_init__(self) -> None:
        """Check what was given, and take it in native byte order."""
        if self.unit not in get_args(Unit):
            raise InputError(f"Unknown unit {self.unit!r}. Allowed: mm, um.")
        array = np.asarray(self.array)
        if array.ndim != 3 or 0 in array.shape:
            raise InputError(f"A volume has three axes (x, y, z), each of at least one voxel. Got shape {array.shape}.")
        if array.dtype.kind not in "buif":
            raise InputError(f"A volume holds numbers. Got dtype {array.dtype}.")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        affine = np.array(self.affine, dtype=np.float64)
        check_affine(affine, um_per_unit=UM_PER[self.unit])
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
        x, y, z = (s * UM_PER[self.unit] for s in self.spacing)
        return x, y, z

    @property
    def axis_codes(self) -> str:
        """Where the axes point, for example ``"RAS"``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    def with_array(self, array: NDArray[Any]) -> Volume:
        """Put another array of the same shape on this grid.

        Raises:
            GeometryError: When the shapes differ.
        """
        if array.shape != self.array.shape:
            raise GeometryError(f"The grid has {self.shape} voxels, the array {array.shape}.")
        return replace(self, array=array)

    def in_unit(self, unit: Unit) -> Volume:
        """State the same places in another unit."""
        affine = self.affine.copy()
        affine[:3] *= UM_PER[self.unit] / UM_PER[unit]
        return replace(self, affine=affine, unit=unit)

    def same_grid(self, other: Volume, *, tolerance: float = 1e-3) -> bool:
        """Tell whether two volumes have equal shape and place every voxel within ``tolerance`` of a voxel's size."""
        if self.shape != other.shape:
            return False
        difference = self.affine - other.in_unit(self.unit).affine
        corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in self.shape), 1]]).T
        return bool(np.abs(difference @ corners).max() <= tolerance * min(self.spacing))


def affine_of_spacing(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Make the affine of an axis-aligned volume that starts at the origin."""
    return np.diag([*spacing, 1.0]).astype(np.float64)
