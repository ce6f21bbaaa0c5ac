"""The segments that 3D Slicer states in the header of a ``.seg.nrrd`` file: names, values and layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.volume.volume import GRID_TOLERANCE, Volume


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation.

    Attributes:
        name: Its name, as the user sees it.
        value: Its value in the voxels of its layer.
        layer: Its layer, from 0; segments that overlap are in different layers.
    """

    name: str
    value: int
    layer: int = 0


def segments_of(path: Path) -> list[Segment]:
    """Return the segments that the header of an NRRD file names; empty when it names none.

    Raises:
        InputError: When the header cannot be read, or a value is not a number.
    """
    try:
        with path.open("rb") as stream:
            header = nrrd.read_header(stream)
        numbers = sorted({int(match[1]) for key in header if (match := re.fullmatch(r"Segment(\d+)_Name", str(key)))})
        return [
            Segment(
                str(header[f"Segment{n}_Name"]),
                int(header.get(f"Segment{n}_LabelValue", n + 1)),
                int(header.get(f"Segment{n}_Layer", 0)),
            )
            for n in numbers
        ]
    except (nrrd.NRRDError, LookupError, TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path.name}: the segments in its header cannot be read ({error}).") from error


def lay_on_grid(part: Volume, whole: Volume) -> NDArray[Any] | None:
    """Return the array of a cropped volume on the grid of the whole one, with 0 outside of it.

    3D Slicer saves a segmentation in the smallest box around it.

    Args:
        part: Volume whose voxels are voxels of ``whole``.
        whole: Volume that defines the grid.

    Returns:
        (x, y, z), of the dtype of ``part``; None when its voxels are not those of the grid, or are outside of it.
    """
    to_whole = np.linalg.inv(whole.affine) @ part.in_unit(whole.unit).affine
    start = np.rint(to_whole[:3, 3]).astype(int)
    expected = np.eye(4)
    expected[:3, 3] = start
    corner = np.array([*(n - 1 for n in part.shape), 1.0])
    off = max(np.abs((to_whole - expected)[:3, 3]).max(), np.abs(((to_whole - expected) @ corner)[:3]).max())
    end = start + part.shape
    if off > GRID_TOLERANCE or (start < 0).any() or (end > whole.shape).any():
        return None
    array = np.zeros(whole.shape, part.array.dtype)
    array[tuple(slice(a, b) for a, b in zip(start, end, strict=True))] = part.array
    return array
