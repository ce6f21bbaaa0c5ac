"""Check headers before voxels are read, and voxels before they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError, UnsafeFileError

#: Maximum size of a decoded array, unless the caller sets another limit: 4 GiB.
LIMIT_BYTES = 4 * 2**30
#: Maximum compression ratio of deflate; a file whose header claims more is damaged or malicious.
MAX_DEFLATE_RATIO = 1032
#: Largest absolute value of a voxel: its square is still a float32.
LARGEST_VALUE = 1e18
#: Voxel sizes outside this range are taken for a wrong unit.
SPACING_RANGE_UM = (0.05, 20_000.0)


def check_budget(shape: tuple[int, ...], itemsize: int, *, limit_bytes: int, source: str) -> int:
    """Check the size of the array that a header claims, before any voxel is read.

    Args:
        shape: Number of voxels along each axis.
        itemsize: Bytes per voxel.
        limit_bytes: Maximum size of the array.
        source: Name of the file, for the message.

    Returns:
        The number of bytes that the header claims.

    Raises:
        InputError: When an axis has no voxel.
        UnsafeFileError: When the array would be larger than ``limit_bytes``.
    """
    if any(int(n) < 1 for n in shape):
        raise InputError(f"{source}: every axis needs at least one voxel. Got shape {tuple(shape)}.")
    claimed = int(itemsize)
    for n in shape:
        claimed *= int(n)
    if claimed > limit_bytes:
        raise UnsafeFileError(
            f"{source}: the header claims {claimed / 2**30:.1f} GiB (shape {tuple(shape)}); allowed are "
            f"{limit_bytes / 2**30:.1f} GiB. Crop the volume, or raise the limit if you trust the file."
        )
    return claimed


def check_enough_bytes(claimed: int, file_bytes: int, *, compressed: bool, source: str) -> None:
    """Check that a file is large enough for the array that its header claims.

    Args:
        claimed: Bytes of the array.
        file_bytes: Bytes of the file.
        compressed: Whether the voxels are compressed by deflate.
        source: Name of the file, for the message.

    Raises:
        UnsafeFileError: When the file is too small.
    """
    if claimed > file_bytes * (MAX_DEFLATE_RATIO if compressed else 1):
        raise UnsafeFileError(
            f"{source}: the header claims {claimed} bytes of voxels, the file has {file_bytes}. "
            "The file is cut off or damaged: copy it again."
        )


def check_three_axes(shape: tuple[int, ...], *, source: str) -> None:
    """Check that a shape is that of one 3-D image; further axes of length one are accepted.

    Args:
        shape: Number of voxels along each axis.
        source: Name of the file, for the message.

    Raises:
        InputError: When there are fewer than three axes, or a further axis is longer than one.
    """
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise InputError(
            f"{source}: a volume has three axes (x, y, z). Got shape {tuple(shape)}. Choose one channel or time point."
        )


def check_affine(affine: NDArray[np.float64], *, um_per_unit: float, source: str = "affine") -> None:
    """Check that an affine maps voxel indices to positions in space.

    Args:
        affine: (4, 4) float64, voxel index to position.
        um_per_unit: Micrometres per unit of the affine.
        source: Name of the affine or its file, for the message.

    Raises:
        GeometryError: When it is not 4x4, not finite, not invertible, or a spacing is out of range.
    """
    if affine.shape != (4, 4):
        raise GeometryError(f"{source}: an affine must be 4x4. Got shape {affine.shape}.")
    if not np.isfinite(affine).all():
        raise GeometryError(f"{source}: the affine contains values that are not finite.")
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise GeometryError(f"{source}: the last row of an affine must be 0 0 0 1. Got {affine[3].tolist()}.")
    spacing_um = np.linalg.norm(affine[:3, :3], axis=0) * um_per_unit
    low, high = SPACING_RANGE_UM
    if (spacing_um < low).any() or (spacing_um > high).any():
        got = ", ".join(f"{s:g}" for s in spacing_um)
        raise GeometryError(
            f"{source}: spacing of {got} um along x, y, z; allowed are {low:g} to {high:g} um. Set the correct unit: mm or um."
        )
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(directions)) < 1e-3:
        raise GeometryError(f"{source}: the affine is singular: two axes have the same direction.")


class UnstatedSpacingError(InputError):
    """Raised when a file does not state its voxel size, and none is passed."""


def check_spacing(spacing: tuple[float, ...] | None, *, source: str) -> tuple[float, float, float]:
    """Check a spacing that a caller passed, and return it as three floats.

    Args:
        spacing: Voxel size along x, y, z; None where it was not passed.
        source: Name of the file, for the message.

    Returns:
        Voxel size along x, y, z.

    Raises:
        UnstatedSpacingError: When it is missing.
        InputError: When it is not three positive numbers.
    """
    if spacing is None:
        raise UnstatedSpacingError(
            f"{source}: the file does not state the voxel size. State it with its unit, along x y z: "
            "--spacing 0.994 0.994 5 --unit um (in Python: spacing=, unit=)."
        )
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"{source}: a spacing must be three positive numbers, x y z. Got {tuple(spacing)}.")
    x, y, z = (float(s) for s in spacing)
    return x, y, z


def check_finite(array: NDArray[Any], *, source: str) -> None:
    """Check that no voxel is NaN, infinite or so large that arithmetic in float32 overflows.

    Args:
        array: Array of any shape and dtype.
        source: Name of the file, for the message.

    Raises:
        InputError: When a voxel is NaN or infinite, with the number of such voxels and the index of the first one; or a value
            exceeds :data:`LARGEST_VALUE`.
    """
    if array.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum(dtype=np.float64)  # one pass without a temporary mask: NaN and infinity propagate to the sum
    if not np.isfinite(total) and not np.isfinite(array).all():
        _refuse_not_finite(array, source)
    largest = max(abs(float(array.max())), abs(float(array.min())))
    if largest > LARGEST_VALUE:
        raise InputError(
            f"{source}: the largest value is {largest:.3g}; allowed is {LARGEST_VALUE:.0e}, since arithmetic is in float32. "
            "Divide the values by a constant, and report this in your methods."
        )


def _refuse_not_finite(array: NDArray[Any], source: str) -> None:
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    raise InputError(
        f"{source}: {int(bad.sum())} voxels are NaN or infinite, the first at index {first}. "
        "Replace them by a meaningful value, and report this in your methods."
    )
