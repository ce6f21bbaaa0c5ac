"""A folder of slices: JPEG, PNG or TIFF, one file a slice, in the natural order of their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from minivess.errors import GeometryError, InputError
from minivess.volume.checks import check_budget, check_spacing
from minivess.volume.model import Unit, Volume, affine_of_spacing

SLICE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})


def read_slices(folder: Path, *, spacing: tuple[float, ...] | None = None, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read the images of a folder as slices along z.

    Args:
        folder: Its images must have one suffix, one size and one dtype. Other files are refused, not skipped.
        spacing: Voxel size along x, y, z in ``unit``.
        unit: What ``spacing`` means; um where it is not stated.
        limit_bytes: The largest decoded array.

    Raises:
        InputError: When there is no image, the files are mixed, or the spacing is not stated.
        GeometryError: When the slices differ in size or dtype.
        UnsafeFileError: When they are larger than allowed together.
    """
    files = sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=_natural)
    suffixes = {f.suffix.lower() for f in files}
    if len(suffixes) != 1 or not suffixes <= SLICE_SUFFIXES:
        raise InputError(
            f"{folder.name}: a folder of slices holds one kind of image ({', '.join(sorted(SLICE_SUFFIXES))}). "
            f"Got {sorted(suffixes) or 'an empty folder'}."
        )
    first = _read_slice(files[0])
    check_budget((len(files), *first.shape), first.dtype.itemsize, limit_bytes=limit_bytes, source=folder.name)
    stack = np.empty((len(files), *first.shape), first.dtype)
    for index, file in enumerate(files):
        image = _read_slice(file)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise GeometryError(
                f"{folder.name}: slices differ: {files[0].name} is {first.shape} {first.dtype}, "
                f"{file.name} is {image.shape} {image.dtype}."
            )
        stack[index] = image
    return Volume(stack.transpose(2, 1, 0), affine_of_spacing(check_spacing(spacing, source=folder.name)), unit or "um")


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def _read_slice(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            image = tifffile.imread(path)
        else:
            with Image.open(path) as opened:
                if opened.mode == "P":
                    raise InputError(f"{path.name}: its values are colours of a palette, not intensities. Convert it to grey.")
                image = np.asarray(opened)
    except (UnidentifiedImageError, tifffile.TiffFileError, OSError, ValueError) as error:
        raise InputError(f"{path.name}: this image cannot be read ({error}).") from error
    if image.ndim != 2:
        raise InputError(f"{path.name}: a slice is one grey image. Got shape {image.shape}. Convert it to grey first.")
    return image
