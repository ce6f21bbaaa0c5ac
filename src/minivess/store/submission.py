"""Is this upload a label of that image? Its values are mapped by name, its axes turned to the image's; all else is refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError, UnsupportedFormatError
from minivess.volume import Unit, Volume, read_volume, reorient
from minivess.volume.io import suffix_of

LABEL_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
#: Bare uint8 voxels in Fortran order on the image's grid, as OHIF's panel sends them.
BARE_SUFFIX = ".bin"
#: White: the value of a mask that knows no classes.
MASK = 255


@dataclass(frozen=True)
class CheckedLabel:
    """A label that may be stored.

    Attributes:
        volume: uint8 on the image's grid, axes (x, y, z); 0 is background, the others are the values of the server's labels.
        voxels: Name of a label -> how many voxels carry it.
        changes: What was done to the upload, in sentences for the one who sent it.
    """

    volume: Volume
    voxels: dict[str, int]
    changes: list[str]


def check_label(
    upload: Path,
    image: Volume,
    *,
    labels: Mapping[str, int],
    label_info: Sequence[Mapping[str, Any]] | None = None,
    may_be_empty: bool = False,
    unit: Unit | None = None,
) -> CheckedLabel:
    """Check an uploaded label against its image.

    Args:
        upload: ``.nii``, ``.nii.gz``, single-file ``.nrrd``, or ``.bin``: bare uint8 voxels of the image's grid, x fastest.
        image: The image that it labels.
        labels: The server's label names and their values, from 1.
        label_info: What the values of the upload mean, as MONAI Label's clients send it: rows of ``name`` and ``idx``.
        may_be_empty: The sender states that nothing is to be labelled.
        unit: Unit of the upload's affine, unless only the unit that its file states lays it on the image: images of a lab may
            mean um whatever they state, while a viewer writes in mm.

    Raises:
        UnsupportedFormatError: When the content is of no format that is taken, whatever the name says.
        GeometryError: When it does not lie on the image's grid; both grids are named.
        InputError: When it cannot be read, is not of whole numbers, holds unknown labels, or is empty.
    """
    if upload.suffix == BARE_SUFFIX:
        placed, changes = _on_grid(_bare(upload, image), image)
    else:
        check_magic(upload, LABEL_SUFFIXES)
        try:
            placed, changes = _on_grid(read_volume(upload, unit=unit), image)
        except GeometryError:
            if unit is None:
                raise
            placed, changes = _on_grid(read_volume(upload), image)
    values = _whole_numbers(placed.array)
    array, voxels = _by_name(placed.array, values, labels, label_info, changes)
    if not array.any() and not may_be_empty:
        raise InputError('The label is empty. If there is nothing to label in this image, send params {"empty": true}.')
    return CheckedLabel(image.with_array(array), voxels, changes)


def check_magic(path: Path, allowed: Sequence[str]) -> None:
    """Look at the first bytes of a file: they decide what it is, not its name.

    Raises:
        UnsupportedFormatError: When they are not those of the format that the name says, or the format is not allowed.
        InputError: When the file is empty or its compression is damaged at the start.
    """
    suffix = suffix_of(path)
    if suffix not in allowed:
        raise UnsupportedFormatError(
            f"A file of the kind {path.suffix or 'without suffix'!r} is not taken. Allowed: {', '.join(allowed)}."
        )
    if path.stat().st_size == 0:
        raise InputError("The file is empty (0 bytes). Save it again and look at its size.")
    try:
        with gzip.open(path) if suffix.endswith(".gz") else path.open("rb") as stream:
            head = stream.read(352)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"The file is no whole gzip file ({error}): it is cut off or damaged. Save it again.") from error
    if not _looks_like(suffix, head):
        raise UnsupportedFormatError(
            f"The content of the file is not {suffix}, though its name says so. Allowed: {', '.join(allowed)}."
        )


def _bare(upload: Path, image: Volume) -> Volume:
    size, wanted = upload.stat().st_size, int(np.prod(image.shape))
    if size != wanted:
        raise InputError(f"A label without a header has one byte a voxel: {wanted} for {image.shape}. Got {size} bytes.")
    return image.with_array(np.fromfile(upload, np.uint8).reshape(image.shape, order="F"))


def _looks_like(suffix: str, head: bytes) -> bool:
    if suffix == ".nrrd":
        return head.startswith(b"NRRD000")
    if suffix.startswith(".nii"):
        sizes = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}
        return head[:4] in sizes
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _on_grid(label: Volume, image: Volume) -> tuple[Volume, list[str]]:
    if label.same_grid(image):
        return label, []
    turned = reorient(label, image.axis_codes)
    if turned.same_grid(image):
        return turned, [f"Axes were {label.axis_codes}; turned to the image's {image.axis_codes}, voxel by voxel."]
    raise GeometryError(
        f"The label is not on the image's grid. Label: {_grid(label)}. Image: {_grid(image)}. "
        "Save it again with the image as reference geometry."
    )


def _grid(volume: Volume) -> str:
    spacing, origin = ([round(float(v), 4) for v in values] for values in (volume.spacing, volume.affine[:3, 3]))
    return f"{list(volume.shape)} voxels of {spacing} {volume.unit}, axes {volume.axis_codes}, first voxel at {origin} (RAS)"


def _whole_numbers(array: NDArray[Any]) -> list[int]:
    found = np.unique(array)
    if found.dtype.kind == "f" and not np.equal(found, np.round(found)).all():
        raise InputError(
            f"A label holds whole numbers. Got {found.dtype} values {_some(found)}. Export a label map, not a probability."
        )
    if found[0] < 0 or found[-1] > 255:
        raise InputError(f"A label holds values from 0 to 255. Got {_some(found)}.")
    return [int(v) for v in found]


def _by_name(
    array: NDArray[Any],
    values: list[int],
    labels: Mapping[str, int],
    label_info: Sequence[Mapping[str, Any]] | None,
    changes: list[str],
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    named = _names(label_info) if label_info else {}
    if len(labels) == 1 and [v for v in values if v] == [MASK]:
        named = dict.fromkeys((MASK,), next(iter(labels)))  # not a class: how ImageJ and most image programs write a mask
    table = np.zeros(256, np.uint8)
    known = {value: name for name, value in labels.items()}
    for value in (v for v in values if v):
        name = named.get(value, known.get(value) if not named else None)
        if name is None or name not in labels:
            meant = f"named {name!r}" if name else "without a name in label_info" if named else "unknown"
            raise InputError(
                f"The label holds the value {value}, {meant}. Values found: {values[:8]}. Allowed: "
                f"{', '.join(f'{n} = {v}' for n, v in labels.items())}. Rename the segment, or leave it out of what you submit."
            )
        if value != labels[name]:
            changes.append(f"The value {value} was named {name!r} and became {labels[name]}.")
        table[value] = labels[name]
    mapped = table[array.astype(np.uint8)]
    counts = np.bincount(mapped.ravel(), minlength=256)
    return mapped, {name: int(counts[value]) for name, value in labels.items()}


def _names(label_info: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    try:
        return {int(row["idx"]): str(row["name"]) for row in label_info if str(row["name"]).lower() != "background"}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"label_info is a list of {{'name': ..., 'idx': ...}}. Got {str(label_info)[:80]}.") from error


def _some(found: NDArray[Any]) -> str:
    shown = ", ".join(f"{float(v):g}" for v in found[:8])
    return shown + (f" and {len(found) - 8} more" if len(found) > 8 else "")
