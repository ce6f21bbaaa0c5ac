"""What people have accepted: the voxels of answered places, which no later prediction may change."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError, StoreError
from minivess.review.region import Box, slices_of


def pack(mask: NDArray[np.bool_]) -> str:
    """Write a small mask as text: a place of 64 x 64 x 4 voxels takes a few hundred letters."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()


def unpack(text: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read what :func:`pack` wrote.

    Raises:
        InputError: When the text does not hold a mask of that shape.
    """
    count = int(np.prod(shape))
    length = -(-count // 8)
    try:
        stream = zlib.decompressobj()
        bits = stream.decompress(base64.b64decode(text, validate=True), length + 1)  # and no more
    except (ValueError, zlib.error) as error:
        raise InputError(f"Packed voxels are base64 of zlib of one bit a voxel, z running fastest. Got: {error}.") from error
    if len(bits) != length or not stream.eof:
        raise InputError(f"Packed voxels fill their box of {tuple(shape)} voxels, {length} bytes. Got {len(bits)} bytes.")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).reshape(shape).astype(bool)


def lay_under(mask: NDArray[np.bool_], answers: Iterable[Mapping[str, Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Lay a prediction under what was accepted.

    Args:
        mask: (x, y, z) of a prediction.
        answers: ``box`` and ``mask`` of each answered place, the oldest first; those without a mask (skipped) are left out.

    Returns:
        The mask with the accepted voxels in it, and which voxels these are.

    Raises:
        StoreError: When an answer is damaged.
    """
    result, locked = mask.astype(bool, copy=True), np.zeros(mask.shape, bool)
    for answer in answers:
        if not answer.get("mask"):
            continue
        window = slices_of(as_box(answer["box"]))
        try:
            result[window] = unpack(str(answer["mask"]), result[window].shape)
        except InputError as error:
            raise StoreError(f"An answer is damaged: {error} Put back a copy of its event.") from error
        locked[window] = True
    return result, locked


def as_box(values: Iterable[Any]) -> Box:
    """Read six numbers as a box."""
    x0, x1, y0, y1, z0, z1 = (int(v) for v in values)
    return x0, x1, y0, y1, z0, z1
