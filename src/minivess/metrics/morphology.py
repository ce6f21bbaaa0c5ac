"""Size and shape of the vessels of a mask: volume, length, calibre, branch points."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.metrics.centreline import centreline_lengths
from minivess.metrics.masks import as_mask, fill_cavities

_NEIGHBOURS = np.ones((3, 3, 3), np.uint8)
_UM_PER_MM = 1000.0
#: A voxel of a centre-line with more neighbours than this is a branch point.
_ALONG_A_LINE = 2


@dataclass(frozen=True)
class Morphology:
    """Measurements of the vessels of a mask.

    Attributes:
        volume_mm3: Volume of the mask.
        length_mm: Length of its centre-lines.
        mean_diameter_mm: Mean diameter along the centre-lines; 0 without any. Twice the distance to the centre of the nearest
            background voxel: up to a voxel more than the vessel's own diameter, and at least two voxels.
        branch_points: Number of places where centre-lines meet.
        components: Number of separate pieces, by 26-connectivity.
    """

    volume_mm3: float
    length_mm: float
    mean_diameter_mm: float
    branch_points: int
    components: int

    def to_json(self) -> dict[str, float]:
        """Return the measurements by name."""
        return asdict(self)


def measure_vessels(mask: NDArray[Any], spacing_um: tuple[float, float, float]) -> Morphology:
    """Measure the vessels of a mask.

    The diameter is twice the distance of the centre-line from the background, so that it cannot be smaller than about a voxel.
    Cavities inside vessels, such as an unstained lumen, are filled for all but the volume.

    Args:
        mask: (x, y, z), vessel above 0.
        spacing_um: Voxel size along x, y, z in um.

    Example:
        >>> tube = np.zeros((9, 9, 20), bool)
        >>> tube[3:6, 3:6] = True
        >>> measure_vessels(tube, (1.0, 1.0, 5.0)).components
        1
    """
    inside = as_mask(mask, "mask")
    if not inside.any():
        return Morphology(0.0, 0.0, 0.0, 0, 0)
    solid = fill_cavities(inside)
    points, lengths_um = centreline_lengths(solid, spacing_um)
    line = np.zeros(inside.shape, bool)
    line[tuple(points.T)] = True
    full = bool(solid.all())  # without any background only the border can bound a diameter
    distance_um = edt.edt(solid, anisotropy=spacing_um, parallel=1, black_border=full)[tuple(points.T)]
    neighbours = ndimage.convolve(line.astype(np.uint8), _NEIGHBOURS, mode="constant") - line
    meeting = line & (neighbours > _ALONG_A_LINE)
    return Morphology(
        volume_mm3=float(inside.sum()) * float(np.prod(spacing_um)) / _UM_PER_MM**3,
        length_mm=float(lengths_um.sum()) / _UM_PER_MM,
        mean_diameter_mm=float(2 * distance_um.mean()) / _UM_PER_MM,
        branch_points=int(cc3d.connected_components(meeting, connectivity=26).max()),
        components=int(cc3d.connected_components(inside, connectivity=26).max()),
    )
