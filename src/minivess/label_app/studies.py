"""Read an image of the studies."""

from __future__ import annotations

from pathlib import Path

from minivess.dicom import read_series
from minivess.dicom.series_files import holds_dicom
from minivess.volume import Unit, Volume, read_volume


def read_study_image(path: Path, unit: Unit | None) -> Volume:
    """Read an image: a volume file, or a folder with a DICOM series.

    Args:
        path: File or folder.
        unit: Unit of the affine of volume files; None for the unit that each file states.

    Raises:
        MinivessError: When it cannot be read.
    """
    if holds_dicom(path):
        return read_series(path).volume
    return read_volume(path, unit=unit)
