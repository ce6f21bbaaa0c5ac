"""A place that a person should look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Kind = Literal["gap", "spur", "false merge", "faint branch", "blob", "boundary"]
#: Voxel bounds, end excluded: (x0, x1, y0, y1, z0, z1).
Box = tuple[int, int, int, int, int, int]


def slices_of(box: Box) -> tuple[slice, slice, slice]:
    """Give a box as an index into an array (x, y, z)."""
    x0, x1, y0, y1, z0, z1 = box
    return slice(x0, x1), slice(y0, y1), slice(z0, z1)


@dataclass(frozen=True)
class Region:
    """One place, as large as can be taken in at a glance.

    Attributes:
        centre_ras: Middle of what is most doubtful in it, in the volume's unit; a viewer goes there.
        box: Its voxels on the volume's own grid.
        box_ras: Two opposite corners of the box, six numbers, in the volume's unit: a viewer may have flipped an axis.
        kind: What is most doubtful in it.
        expected_errors: How many errors are expected in it; places are put in order by this.
        expected_voxels: How many voxels are expected to be significantly wrong.
        cost_s: Seconds that it will take to answer, by a fixed estimate.
        reason: Why to look, in words.
    """

    centre_ras: tuple[float, float, float]
    box: Box
    box_ras: tuple[float, float, float, float, float, float]
    kind: Kind
    expected_errors: float
    expected_voxels: float
    cost_s: float
    reason: str

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an array (x, y, z)."""
        return slices_of(self.box)

    @staticmethod
    def of_json(values: Mapping[str, Any]) -> Region:
        """Read what :meth:`to_json` gave; more that was kept with it is left out."""
        return Region(**{field.name: values[field.name] for field in fields(Region)})

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)
