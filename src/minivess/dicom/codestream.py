"""Compressed pixels say their own size, which the header of the file need not: a kilobyte may decode to gigabytes."""

from __future__ import annotations

import pydicom
from pydicom.encaps import generate_frames

from minivess.errors import UnsafeFileError

_J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ (ISO/IEC 15444-1, A.4 and A.5.1)
_JPEG_START = b"\xff\xd8"
#: Frame headers of JPEG and JPEG-LS: SOF0 to SOF15 but DHT, JPG and DAC, and SOF55 (ISO/IEC 10918-1, table B.1; 14495-1, C.2.2).
_FRAME_HEADERS = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})


def check_codestreams(dataset: pydicom.Dataset, name: str) -> None:
    """Check that no JPEG frame of any kind is larger than the header of the file says, before it is decoded.

    Args:
        dataset: An image with its pixels.
        name: What is read, for the message.

    Raises:
        UnsafeFileError: When a frame is larger.
    """
    if "JPEG" not in dataset.file_meta.TransferSyntaxUID.name:
        return
    stated = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    for frame in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        rows, columns, samples = codestream_size(frame)
        if rows * columns * samples > stated:
            raise UnsafeFileError(
                f"{name}: the compressed picture has {rows} x {columns} pixels of {samples} samples, the header states "
                f"{dataset.Rows} x {dataset.Columns}. Export it again."
            )


def codestream_size(frame: bytes) -> tuple[int, int, int]:
    """Return rows, columns and samples that a frame of JPEG, JPEG-LS, JPEG 2000 or HTJ2K states; zeros where it is damaged."""
    if frame.startswith(_JPEG_START):
        return _jpeg_size(frame)
    start = j2k_start(frame)
    if not frame.startswith(_J2K_START, start):
        return 0, 0, 0
    x, y, x_offset, y_offset = (int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
    return max(0, y - y_offset), max(0, x - x_offset), int.from_bytes(frame[start + 40 : start + 42], "big")


def j2k_start(frame: bytes) -> int:
    """Return where a JPEG 2000 codestream begins, also in the boxes of a JP2 file (ISO/IEC 15444-1, annex I.4).

    Returns:
        The offset; the end of the frame where there is none.
    """
    if frame.startswith(_J2K_START):
        return 0
    at = 0
    while at + 8 <= len(frame):
        length, kind, head = int.from_bytes(frame[at : at + 4], "big"), frame[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(frame[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return at + head
        if length < head:  # 0: the last box
            break
        at += length
    return len(frame)


def _jpeg_size(frame: bytes) -> tuple[int, int, int]:
    at = 2
    while at + 9 < len(frame):
        if frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker in _FRAME_HEADERS:
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big"), frame[at + 9]
        if marker == 0xFF:  # a fill byte
            at += 1
        else:
            at += 2 if marker in _WITHOUT_LENGTH else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return 0, 0, 0
