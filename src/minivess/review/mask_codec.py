"""The text form of a small mask, for events, drafts and HTTP: base64 of zlib of one bit a voxel."""

from __future__ import annotations

import base64
import zlib
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """Return an (x, y, z) bool mask as text, z fastest; 64 x 64 x 4 voxels take a few hundred characters.

    Example:
        >>> mask = np.eye(4, dtype=bool)[None]
        >>> bool((unpack_mask(pack_mask(mask), (1, 4, 4)) == mask).all())
        True
    """
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 9)).decode()


def hash_of(mask: NDArray[np.bool_]) -> str:
    """Return the SHA-256 of an (x, y, z) bool mask, by which a mask that is sent again is known."""
    return sha256(np.packbits(mask).tobytes()).hexdigest()


def unpack_mask(text: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Read the text of :func:`pack_mask`.

    Args:
        text: The packed mask.
        shape: Its shape (x, y, z).

    Returns:
        (x, y, z) bool.

    Raises:
        InputError: When the text does not hold a mask of that shape.
    """
    count = int(np.prod(shape))
    length = -(-count // 8)
    try:
        stream = zlib.decompressobj()
        bits = stream.decompress(base64.b64decode(text, validate=True), length + 1)  # never more than the mask needs
    except (ValueError, zlib.error) as error:
        raise InputError(f"A packed mask is base64 of zlib of one bit a voxel, z fastest. Got: {error}.") from error
    if len(bits) != length or not stream.eof:
        raise InputError(f"A packed mask fills its box of {tuple(shape)} voxels, {length} bytes. Got {len(bits)} bytes.")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).reshape(shape).astype(bool)
