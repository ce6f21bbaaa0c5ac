"""Read a folder of slices: one JPEG, PNG or TIFF file per slice, in the natural order of the file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from minivess.errors import GeometryError, InputError
from minivess.volume.checks import check_budget, check_spacing
from minivess.volume.tiff_directories import check_directories
from minivess.volume.units import Unit
from minivess.volume.volume import Volume, affine_from_spacing

#: Numbers of slices that are further apart than this, for each of them, are something else: a date, a time.
_MOST_GAPS = 10
SLICE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
# Pillow's limit is of the whole process, and too small for a mosaic. The size of each slice is compared before it is decoded.
Image.MAX_IMAGE_PIXELS = None


def read_slices(folder: Path, *, spacing: tuple[float, ...] | None = None, unit: Unit | None = None, limit_bytes: int) -> Volume:
    """Read the images of a folder as slices along z; the rows are y, the columns are x.

    Args:
        folder: Folder of images with the same suffix, size and dtype. Any other file is refused; none is skipped.
        spacing: Voxel size along x, y, z in ``unit``.
        unit: Unit of ``spacing``; um when it is not passed.
        limit_bytes: Maximum size of the decoded array.

    Raises:
        InputError: When the folder is empty, contains files of several kinds, an image cannot be read or is not grey, or the
            spacing is not passed.
        GeometryError: When the slices differ in size or dtype.
        UnsafeFileError: When all slices together exceed the limit.
    """
    files = sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=_natural)
    suffixes = {f.suffix.lower() for f in files}
    if any(f.suffix.lower() == ".dcm" for f in files):
        raise InputError(
            f"{folder.name} holds DICOM files. Convert them: minivess data convert {folder.name} image.nii.gz; or segment the "
            "series as it is: minivess map run."
        )
    if len(suffixes) != 1 or not suffixes <= SLICE_SUFFIXES:
        raise InputError(
            f"{folder.name}: a folder of slices must contain one kind of image ({', '.join(sorted(SLICE_SUFFIXES))}). "
            f"Got {sorted(suffixes) or 'an empty folder'}. Name volumes one by one: {folder.name}/*.tif."
        )
    _refuse_gap(files, folder.name)
    check_budget((len(files), *_stated_size(files[0])), 1, limit_bytes=limit_bytes, source=folder.name)
    first = _read_slice(files[0])
    check_budget((len(files), *first.shape), first.dtype.itemsize, limit_bytes=limit_bytes, source=folder.name)
    stack = np.empty((len(files), *first.shape), first.dtype)
    for index, file in enumerate(files):
        stated = _stated_size(file)  # before it is decoded: a small file may be a large image
        image = _read_slice(file) if stated in ((), first.shape) else None
        if image is None or (image.shape, image.dtype) != (first.shape, first.dtype):
            raise GeometryError(
                f"{folder.name}: the slices differ: {files[0].name} is {first.shape} {first.dtype}, "
                f"{file.name} is {stated if image is None else f'{image.shape} {image.dtype}'}. "
                "Export all slices with the same size and dtype."
            )
        stack[index] = image
    return Volume(stack.transpose(2, 1, 0), affine_from_spacing(check_spacing(spacing, source=folder.name)), unit or "um")


def _refuse_gap(files: Sequence[Path], source: str) -> None:
    """Refuse a stack whose numbers say that a slice is missing: everything behind it would lie too high."""
    numbers = [[int(part) for part in re.findall(r"\d+", file.stem)] for file in files]
    if len(files) < 3 or len({len(parts) for parts in numbers}) != 1:
        return
    varying = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(varying) != 1 or max(varying[0]) - min(varying[0]) > _MOST_GAPS * len(files):  # such as times of day
        return
    steps = [after - before for before, after in zip(varying[0], varying[0][1:], strict=False)]
    usual = max(set(steps), key=lambda step: (steps.count(step), -step))
    place = next((n for n, step in enumerate(steps) if step != usual), None)
    if place is not None:
        what = "is a gap" if steps[place] > usual > 0 else "are numbers that repeat or go back"
        raise GeometryError(
            f"{source}: there {what} between {files[place].name} and {files[place + 1].name}. Add missing slices, move others "
            "away, or number the files one after the other."
        )


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def _stated_size(path: Path) -> tuple[int, ...]:
    """Return the rows and columns that an image states, before it is decoded; nothing of one that cannot be read."""
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            check_directories(path)
            with tifffile.TiffFile(path, _multifile=False) as file:
                return tuple(file.pages.first.shape)
        with Image.open(path) as opened:
            return opened.height, opened.width
    except (UnidentifiedImageError, tifffile.TiffFileError, OSError, ValueError):
        return ()  # its reader says what is wrong


def _read_slice(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            check_directories(path)
            with tifffile.TiffFile(path, _multifile=False) as file:  # no other file, whatever its metadata name
                image = file.asarray()
        else:
            with Image.open(path) as opened:
                if opened.mode == "P":
                    raise InputError(f"{path.name}: its values are indices of a colour palette. Convert it to grey.")
                image = np.asarray(opened)
    except (UnidentifiedImageError, tifffile.TiffFileError, OSError, ValueError) as error:
        raise InputError(f"{path.name}: the image cannot be read ({error}). It is damaged or has another format.") from error
    if image.ndim == 3 and image.shape[-1] > 4:  # else colours
        raise InputError(
            f"{path.name} is a stack, not a slice: a folder is one volume, with a file for each slice. Name stacks one by one: "
            f"{path.parent.name}/*{path.suffix}."
        )
    if image.ndim != 2:
        raise InputError(f"{path.name}: a slice must be one grey image. Got shape {image.shape}. Convert it to grey first.")
    return image
