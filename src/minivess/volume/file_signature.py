"""Check the first bytes of a file: they decide its format, not its name."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from minivess.errors import InputError, UnsupportedFormatError
from minivess.volume.io import suffix_of


def check_file_signature(path: Path, allowed: Sequence[str]) -> None:
    """Check that the content of a file has the format that its suffix states.

    Args:
        path: The file.
        allowed: Suffixes that are accepted.

    Raises:
        UnsupportedFormatError: When the format is not allowed, or the content is of another one.
        InputError: When the file is empty, or its compression is damaged at the start.
    """
    suffix = suffix_of(path)
    if suffix not in allowed:
        raise UnsupportedFormatError(
            f"A file with the suffix {path.suffix or 'none'!r} is not accepted. Allowed: {', '.join(allowed)}."
        )
    if path.stat().st_size == 0:
        raise InputError("The file is empty (0 bytes). Save it again and check its size.")
    try:
        with gzip.open(path) if suffix.endswith(".gz") else path.open("rb") as stream:
            head = stream.read(352)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"The file is not a complete gzip file ({error}): it is truncated or damaged. Save it again.") from error
    if not _matches(suffix, head):
        raise UnsupportedFormatError(
            f"The content of the file is not {suffix}, although its name says so. Allowed: {', '.join(allowed)}."
        )


def _matches(suffix: str, head: bytes) -> bool:
    if suffix == ".nrrd":
        return head.startswith(b"NRRD000")
    if suffix == ".mha":
        return b"ObjectType" in head[:200] or head.startswith(b"NDims") or b"NDims" in head
    if suffix.startswith(".nii"):
        sizes = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}
        return head[:4] in sizes
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
