"""Check an uploaded label against its image: values are mapped by label name, axes are reordered; other uploads are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError
from minivess.volume import Unit, Volume, read_volume, reorient
from minivess.volume.file_signature import check_file_signature
from minivess.volume.segments import Segment, lay_on_grid, segments_of
from minivess.volume.volume import GRID_TOLERANCE

LABEL_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
#: uint8 voxels without a header, in Fortran order on the image's grid, as the panel of OHIF sends them.
BARE_SUFFIX = ".bin"
#: The foreground value of a mask without classes, as ImageJ and most image programs write it.
WHITE = 255
#: Of an uploaded label: float64, and one spare for labels that are not on the grid and are refused with both grids.
_MAX_BYTES_PER_VOXEL = 16


@dataclass(frozen=True)
class CheckedLabel:
    """A label that may be stored.

    Attributes:
        volume: (x, y, z) uint8 on the image's grid; 0 is background, other values are those of the server's labels.
        voxels: Label name -> number of voxels.
        changes: What was changed on receipt, in sentences for the sender.
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
        upload: ``.nii``, ``.nii.gz``, single-file ``.nrrd``, or ``.bin``: uint8 voxels without a header on the image's grid, x
            fastest.
        image: The image that it labels.
        labels: Label name -> value of the server, from 1 to 255.
        label_info: Meaning of the values in the upload, as clients of MONAI Label send it: rows of ``name`` and ``idx``.
        may_be_empty: Whether a label without foreground is accepted.
        unit: Unit of the upload's affine. When the label does not match the grid in this unit, the unit that the file states
            is tried: a lab's images may be in um whatever they state, while a viewer writes mm.

    Returns:
        The label on the image's grid.

    Raises:
        UnsupportedFormatError: When the content is in no supported format, whatever the file name.
        GeometryError: When the label is not on the image's grid; the message states both grids.
        InputError: When the upload cannot be read, has values that are not integers from 0 to 255, has unknown labels, or is
            empty.
    """
    if upload.suffix == BARE_SUFFIX:
        label, changes = _match_grid(_read_bare(upload, image), image)
    else:
        check_file_signature(upload, LABEL_SUFFIXES)
        limit_bytes = image.array.size * _MAX_BYTES_PER_VOXEL  # a header that claims more is refused before it is decoded
        try:
            label, changes = _match_grid(read_volume(upload, unit=unit, limit_bytes=limit_bytes), image)
        except GeometryError:
            if unit is None:
                raise
            label, changes = _match_grid(read_volume(upload, limit_bytes=limit_bytes), image)
        if not label_info and upload.suffix.lower() == ".nrrd" and (segments := segments_of(upload)):
            label_info, label = _named_segments(segments, labels, label, changes)
    values = _check_values(label.array)
    array, voxels = _map_by_name(label.array, values, labels, label_info, changes)
    if not array.any() and not may_be_empty:
        raise InputError('The label is empty. If there is nothing to label in this image, send params {"empty": true}.')
    return CheckedLabel(image.with_array(array), voxels, changes)


def _named_segments(
    segments: Sequence[Segment], labels: Mapping[str, int], label: Volume, changes: list[str]
) -> tuple[list[dict[str, Any]], Volume]:
    """Return the segments that a file names in its header as ``label_info``, and the label without segments of other names.

    When no segment has the name of a label of the server, all stay, and are refused by their names.
    """
    known = [segment for segment in segments if segment.name in labels]
    others = [segment for segment in segments if segment.name not in labels] if known else []
    array = label.array
    for other in others:
        inside = array == other.value
        if inside.any():
            array = np.where(inside, 0, array)
            changes.append(f"The segment {other.name[:40]!r} was left out.")
    rows = [{"name": segment.name, "idx": segment.value} for segment in (known or segments)]
    return rows, label.with_array(array)


def _read_bare(upload: Path, image: Volume) -> Volume:
    size, expected = upload.stat().st_size, int(np.prod(image.shape))
    if size != expected:
        raise InputError(f"A label without a header has one byte per voxel: {expected} for {image.shape}. Got {size} bytes.")
    return image.with_array(np.fromfile(upload, np.uint8).reshape(image.shape, order="F"))


def _match_grid(label: Volume, image: Volume) -> tuple[Volume, list[str]]:
    """Return the label on the image's grid, its axes reordered if necessary, and the changes in sentences."""
    if label.same_grid(image):
        return label, []
    reordered = reorient(label, image.axis_codes)
    if reordered.same_grid(image):
        return reordered, [f"Axes were {label.axis_codes}; reordered to the image's {image.axis_codes}, without resampling."]
    laid = lay_on_grid(reordered, image)
    if laid is not None:
        return image.with_array(laid), [f"The label had {list(label.shape)} voxels of the image's grid; the others became 0."]
    off = ""
    if reordered.shape == image.shape:
        apart = image.distance_in_voxels(reordered)
        off = f" Corresponding voxels are up to {apart:.3g} voxels apart; allowed are {GRID_TOLERANCE}."
    raise GeometryError(
        f"The label is not on the image's grid.{off} Label: {_describe_grid(label)}. Image: {_describe_grid(image)}. "
        "Save it again with the image as reference geometry."
    )


def _describe_grid(volume: Volume) -> str:
    spacing, origin = ([round(float(v), 4) for v in values] for values in (volume.spacing, volume.affine[:3, 3]))
    return f"{list(volume.shape)} voxels of {spacing} {volume.unit}, axes {volume.axis_codes}, first voxel at {origin} (RAS)"


def _check_values(array: NDArray[Any]) -> list[int]:
    """Return the distinct values of an (x, y, z) label, sorted; raise InputError unless they are integers from 0 to 255."""
    values = np.unique(array)
    if values.dtype.kind == "f" and not np.equal(values, np.round(values)).all():
        raise InputError(
            f"A label has whole numbers. Got {values.dtype} values {_list_some(values)}. Export a label map, not a probability."
        )
    if values[0] < 0 or values[-1] > 255:
        raise InputError(f"A label has values from 0 to 255. Got {_list_some(values)}.")
    return [int(v) for v in values]


def _map_by_name(
    array: NDArray[Any],
    values: list[int],
    labels: Mapping[str, int],
    label_info: Sequence[Mapping[str, Any]] | None,
    changes: list[str],
) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """Map the values of an upload to those of the server's labels; append to ``changes``. Return array and voxel counts."""
    named = _names_from_label_info(label_info) if label_info else {}
    if len(labels) == 1 and [v for v in values if v] == [WHITE] and WHITE not in named:
        named = {WHITE: next(iter(labels))}  # a mask without classes
    table = np.zeros(256, np.uint8)
    known = {value: name for name, value in labels.items()}
    for value in (v for v in values if v):
        name = named.get(value, known.get(value) if not named else None)
        if name is None or name not in labels:
            meaning = f"named {name!r}" if name else "without a name in label_info" if named else "unknown"
            raise InputError(
                f"The label contains the value {value}, {meaning}. Values in the label: {values[:8]}. Allowed: "
                f"{', '.join(f'{n} = {v}' for n, v in labels.items())}. Rename the segment, or remove it from the submission."
            )
        if value != labels[name]:
            changes.append(f"The value {value} was named {name!r} and became {labels[name]}.")
        table[value] = labels[name]
    mapped = table[array.astype(np.uint8)]
    counts = np.bincount(mapped.ravel(), minlength=256)
    return mapped, {name: int(counts[value]) for name, value in labels.items()}


def _names_from_label_info(label_info: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    try:
        return {int(row["idx"]): str(row["name"]) for row in label_info if str(row["name"]).lower() != "background"}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"label_info must be a list of {{'name': ..., 'idx': ...}}. Got {str(label_info)[:80]}.") from error


def _list_some(values: NDArray[Any]) -> str:
    shown = ", ".join(f"{float(v):g}" for v in values[:8])
    return shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")
