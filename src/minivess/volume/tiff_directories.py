"""Walk the chain of a TIFF file's directories: damaged ones make a library read the same bytes over and over."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from minivess.errors import InputError

#: Magic number -> struct formats of an offset and of the number of entries, and the bytes of an entry (TIFF 6.0; BigTIFF).
_KINDS = {42: ("I", "H", 12), 43: ("Q", "Q", 20)}
_MAX_ENTRIES = 4096


def check_directories(path: Path) -> None:
    """Check that each directory of a TIFF file lies inside it, and that no two of them overlap.

    So the work of reading them is bounded by the size of the file. A file that is not TIFF is left to the reader.

    Raises:
        InputError: When the chain of directories is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        kind = _KINDS.get(struct.unpack(f"{order}H", start[2:])[0]) if order and len(start) == 4 else None
        if order is None or kind is None:
            return
        offset_format, count_format, entry_bytes = order + kind[0], order + kind[1], kind[2]
        if kind[0] == "Q":
            file.seek(8)
        offset, read, number = _number(file, offset_format), 0, 0
        while offset:
            number += 1
            file.seek(min(offset, size))
            entries = _number(file, count_format)
            length = struct.calcsize(count_format) + entries * entry_bytes + struct.calcsize(offset_format)
            read += length
            if not 0 < entries <= _MAX_ENTRIES or offset + length > size or read > size:
                raise InputError(
                    f"{path.name}: the file is cut off or damaged: directory {number} at byte {offset} of {size} has {entries} "
                    "entries, and does not fit. Copy it again."
                )
            file.seek(offset + length - struct.calcsize(offset_format))
            offset = _number(file, offset_format)


def _number(file: BinaryIO, number_format: str) -> int:
    """Read an unsigned integer; 0 at the end of the file."""
    data = file.read(struct.calcsize(number_format))
    return int(struct.unpack(number_format, data)[0]) if len(data) == struct.calcsize(number_format) else 0
