"""What the application writes beside result.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outputs:
    """What is written.

    Attributes:
        seg_type: SegmentationType of the SEG.
        uncertainty: Whether a parametric map of the uncertainty is written.
        measurements: Whether a measurement report is written.
        pictures: Whether secondary captures with outlines are written.
    """

    seg_type: Literal["BINARY", "LABELMAP", "FRACTIONAL"] = "BINARY"
    uncertainty: bool = True
    measurements: bool = True
    pictures: bool = False
