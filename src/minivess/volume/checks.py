"""Is this header one that we may read, and are these voxels ones that we may compute with?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import GeometryError, InputError, UnsafeFileError

#: The largest decoded array that a reader makes, unless the caller states another: 4 GiB.
LIMIT_BYTES = 4 * 2**30
#: Deflate cannot shrink further than this, so a file that claims more is damaged or hostile.
MAX_DEFLATE_RATIO = 1032
SPACING_RANGE_UM = (0.05, 20_000.0)


def check_budget(shape: tuple[int, ...], itemsize: int, *, limit_bytes: int, source: str) -> int:
    """Refuse a header that claims more voxels than allowed, before any voxel is read.

    Returns:
        The number of bytes that the header claims.

    Raises:
        InputError: When an axis has no voxel.
        UnsafeFileError: When the array would be larger than ``limit_bytes``.
    """
    if any(int(n) < 1 for n in shape):
        raise InputError(f"{source}: an axis without a voxel, shape {tuple(shape)}.")
    claimed = int(itemsize)
    for n in shape:
        claimed *= int(n)
    if claimed > limit_bytes:
        raise UnsafeFileError(
            f"{source}: the header claims {claimed / 2**30:.1f} GiB (shape {tuple(shape)}); allowed "
            f"{limit_bytes / 2**30:.1f} GiB. Crop the volume, or raise the limit if you trust the file."
        )
    return claimed


def check_enough_bytes(claimed: int, file_bytes: int, *, compressed: bool, source: str) -> None:
    """Refuse a file too small to hold what its header claims.

    Raises:
        UnsafeFileError: When it is.
    """
    if claimed > file_bytes * (MAX_DEFLATE_RATIO if compressed else 1):
        raise UnsafeFileError(
            f"{source}: the header claims {claimed} bytes of voxels, the file has {file_bytes}. "
            "It is cut off or damaged: copy it again."
        )


def check_three_axes(shape: tuple[int, ...], *, source: str) -> None:
    """Refuse anything but one 3-D image (a fourth axis of length one is let pass).

    Raises:
        InputError: When the shape is not that of one volume.
    """
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise InputError(
            f"{source}: a volume has three axes (x, y, z). Got shape {tuple(shape)}. Choose one channel or time point."
        )


def check_affine(affine: NDArray[np.float64], *, um_per_unit: float, source: str = "affine") -> None:
    """Refuse an affine that does not place voxels in space.

    Raises:
        GeometryError: When it is not 4x4, not finite, not invertible, or a spacing is out of range.
    """
    if affine.shape != (4, 4):
        raise GeometryError(f"{source}: an affine is 4x4. Got {affine.shape}.")
    if not np.isfinite(affine).all():
        raise GeometryError(f"{source}: the affine holds values that are not finite.")
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise GeometryError(f"{source}: the last row of an affine is 0 0 0 1. Got {affine[3].tolist()}.")
    spacing_um = np.linalg.norm(affine[:3, :3], axis=0) * um_per_unit
    low, high = SPACING_RANGE_UM
    if (spacing_um < low).any() or (spacing_um > high).any():
        got = ", ".join(f"{s:g}" for s in spacing_um)
        raise GeometryError(
            f"{source}: spacing of {got} um along x, y, z; allowed {low:g} to {high:g} um. Is the unit right? State it: mm or um."
        )
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(directions)) < 1e-3:
        raise GeometryError(f"{source}: the affine is singular: two axes point the same way.")


def check_spacing(spacing: tuple[float, ...] | None, *, source: str) -> tuple[float, float, float]:
    """Take a spacing that a caller stated.

    Raises:
        InputError: When there is none, or it is not three positive numbers.
    """
    if spacing is None:
        raise InputError(
            f"{source}: the file does not say how large a voxel is. State it: spacing=(x, y, z) and unit "
            "(on the command line: --spacing 0.994 0.994 5 --unit um)."
        )
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"{source}: a spacing is three positive numbers, x y z. Got {tuple(spacing)}.")
    x, y, z = (float(s) for s in spacing)
    return x, y, z


def check_finite(array: NDArray[Any], *, source: str) -> None:
    """Refuse NaN and infinity, with their number and the first place.

    Raises:
        InputError: When there is one.
    """
    if array.dtype.kind != "f":
        return
    if np.isfinite(array.sum(dtype=np.float64)):  # one pass without a mask; a NaN or Inf would show in the sum
        return
    bad = ~np.isfinite(array)
    if not bad.any():  # the sum itself overflowed
        return
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    raise InputError(
        f"{source}: {int(bad.sum())} voxels are NaN or infinite, the first at index {first}. "
        "Replace them by a value that means something, and say so in your methods."
    )
