"""A region: one part of an image that an annotator should look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from minivess.volume import Box

#: ``"random check"``: drawn at random, where no certain error is suspected.
RegionKind = Literal["gap", "spur", "false merge", "faint branch", "blob", "boundary", "random check"]


@dataclass(frozen=True)
class Region:
    """A box of voxels with the reason to look at it.

    Attributes:
        centre_ras: Point (x, y, z) of the most likely error, RAS, in the volume's unit; viewers centre on it.
        box: Its voxels on the volume's own grid.
        box_ras: Two opposite corners of the box, RAS, in the volume's unit (six numbers): a viewer may have flipped an axis.
        kind: Kind of the most likely error.
        expected_errors: Expected number of errors inside.
        expected_voxels: Expected number of significantly wrong voxels inside.
        cost_s: Estimated seconds that an annotator needs.
        reason: Why to look, for the annotator.
        queued_as: Sorts the region in the queue as if so many errors were expected; None: as many as are.
    """

    centre_ras: tuple[float, float, float]
    box: Box
    box_ras: tuple[float, float, float, float, float, float]
    kind: RegionKind
    expected_errors: float
    expected_voxels: float
    cost_s: float
    reason: str
    queued_as: float | None = None

    @property
    def worth(self) -> float:
        """What the queue is sorted by, the highest first."""
        return self.expected_errors if self.queued_as is None else self.queued_as

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Region:
        """Read the values of :meth:`to_json`; other keys are ignored.

        Raises:
            KeyError: When a key is missing.
            TypeError: When a value has the wrong type, for example None for a number.
            ValueError: When a text is not a number, or a list has the wrong length.
        """
        x, y, z = (float(value) for value in values["centre_ras"])
        a, b, c, d, e, f = (float(value) for value in values["box_ras"])
        return Region(
            centre_ras=(x, y, z),
            box=Box.from_json(values["box"]),
            box_ras=(a, b, c, d, e, f),
            kind=values["kind"],
            expected_errors=float(values["expected_errors"]),
            expected_voxels=float(values["expected_voxels"]),
            cost_s=float(values["cost_s"]),
            reason=str(values["reason"]),
            queued_as=None if values.get("queued_as") is None else float(values["queued_as"]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the region as plain values."""
        return {
            "centre_ras": list(self.centre_ras),
            "box": list(self.box),
            "box_ras": list(self.box_ras),
            "kind": self.kind,
            "expected_errors": self.expected_errors,
            "expected_voxels": self.expected_voxels,
            "cost_s": self.cost_s,
            "reason": self.reason,
            **({} if self.queued_as is None else {"queued_as": self.queued_as}),
        }
