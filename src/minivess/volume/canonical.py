"""One order of voxels for networks, whatever program wrote the file: the same patient must get the same mask by every door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from minivess.volume.box import Box
from minivess.volume.grid import reorient
from minivess.volume.volume import Volume

#: From this ratio of the largest voxel side to the next the slices lie along it.
_ANISOTROPIC = 1.2
_POSITIVE = "RAS"


@dataclass(frozen=True, eq=False)
class CanonicalView:
    """A volume in the canonical order, and the way back.

    Attributes:
        source: The volume as it was read.
        volume: The same voxels: slices along z, all axes towards right, anterior, superior.
    """

    source: Volume
    volume: Volume

    @staticmethod
    def of(volume: Volume) -> CanonicalView:
        """Return the view of a volume; a volume that is in this order already is not copied."""
        codes = canonical_codes(volume)
        return CanonicalView(volume, volume if volume.axis_codes == codes else reorient(volume, codes))

    def box(self, box: Box) -> Box:
        """Return a box of the source as one of the canonical volume."""
        corners = np.array([self.voxel(box.low), self.voxel([h - 1 for h in box.high])])
        return Box.from_corners(corners.min(0), corners.max(0) + 1)

    def voxel(self, voxel: Sequence[int]) -> tuple[int, int, int]:
        """Return a voxel of the source as one of the canonical volume."""
        world = self.source.affine @ [*voxel, 1.0]
        x, y, z = np.rint(np.linalg.solve(self.volume.affine, world)[:3]).astype(int)
        return int(x), int(y), int(z)

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array (x, y, z) of the canonical volume in the order of the source."""
        if self.volume is self.source:
            return array
        return reorient(self.volume.with_array(array), self.source.axis_codes).array


def canonical_codes(volume: Volume) -> str:
    """Return the axis codes of the canonical order.

    The axis of the largest voxel side is z, since networks know thick slices along z; in nearly cubic voxels it is the axis
    that is closest to superior. The other two keep the order right, anterior, superior.

    Args:
        volume: Any volume.
    """
    closest = nib.orientations.io_orientation(volume.affine)[:, 0].astype(int)  # of each axis: the axis of the world
    spacing = np.empty(3)
    spacing[closest] = volume.spacing
    coarse, next_coarse = np.argsort(spacing)[::-1][:2]
    slices = int(coarse) if spacing[coarse] > _ANISOTROPIC * spacing[next_coarse] else 2
    return "".join(_POSITIVE[axis] for axis in (*(a for a in range(3) if a != slices), slices))
