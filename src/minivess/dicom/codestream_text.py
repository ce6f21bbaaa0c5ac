"""Remove the text beside the picture in compressed pixels: comments, and what programs add for each other."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames

from minivess.dicom.codestream import j2k_start

_JPEG, _J2K = b"\xff\xd8", b"\xff\x4f"
_SOS, _EOI, _COM = 0xDA, 0xD9, 0xFE  # ISO/IEC 10918-1, table B.1
_APPLICATION = frozenset(range(0xE0, 0xF0))
#: What a decoder needs: Adobe's and HP's transformations of colours. Marker -> beginning and length of the whole segment.
_NEEDED = {0xEE: (b"Adobe", 14), 0xE8: (b"mrfx", 7)}
_J2K_COM, _SOT, _SOD, _EOC = 0x64, 0x90, 0x93, b"\xff\xd9"  # ISO/IEC 15444-1, table A.2


def remove_codestream_text(dataset: Dataset) -> bool:
    """Remove comments from the compressed frames of an image, in place; their pixels stay bit by bit.

    Returns:
        Whether there were any.

    Raises:
        ValueError: When a frame is damaged, or has its text where it cannot be removed.
    """
    if "JPEG" not in dataset.file_meta.TransferSyntaxUID.name or "PixelData" not in dataset:
        return False
    frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
    cleaned = [without_text(frame) for frame in frames]
    if all(frame.rstrip(b"\0") == clean.rstrip(b"\0") for frame, clean in zip(frames, cleaned, strict=True)):
        return False
    dataset.PixelData = encapsulate(cleaned)
    dataset["PixelData"].is_undefined_length = True
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    return True


def without_text(frame: bytes) -> bytes:
    """Return a frame of JPEG, JPEG-LS, JPEG 2000 or HTJ2K without comments, and without what follows its end.

    Raises:
        ValueError: When it is damaged, or has its text where it cannot be removed.
    """
    if frame.startswith(_JPEG):
        return _jpeg_without_text(frame)
    return _j2k_without_text(frame[j2k_start(frame) :])


def _jpeg_without_text(frame: bytes) -> bytes:
    kept, at = [frame[:2]], 2
    while True:
        if at + 2 > len(frame) or frame[at] != 0xFF:
            raise ValueError("damaged compressed pixels")
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == _EOI:
            return b"".join([*kept, frame[at : at + 2]])
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == _SOS:
            end = _end_of_scan(frame, end)
        name, length = _NEEDED.get(marker, (b"", 0))
        is_needed = end - at - 2 == length and frame.startswith(name, at + 4)
        is_text = marker == _COM or (marker in _APPLICATION and not is_needed)
        kept += [] if is_text else [frame[at:end]]
        at = end


def _end_of_scan(frame: bytes, at: int) -> int:
    """Return where the entropy-coded data end; a byte after 0xFF below 0x80, or a restart marker, belongs to them."""
    while (at := frame.find(b"\xff", at)) >= 0 and at + 1 < len(frame):
        following = frame[at + 1]
        if following >= 0x80 and following != 0xFF and not 0xD0 <= following <= 0xD7:
            return at
        at += 1 if following == 0xFF else 2
    raise ValueError("damaged compressed pixels")


def _j2k_without_text(frame: bytes) -> bytes:
    if not frame.startswith(_J2K):
        raise ValueError("damaged compressed pixels")
    kept, at = [frame[:2]], 2
    while frame[at : at + 2] != bytes((0xFF, _SOT)):
        if at + 4 > len(frame) or frame[at] != 0xFF:
            raise ValueError("damaged compressed pixels")
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        kept += [] if frame[at + 1] == _J2K_COM else [frame[at:end]]
        at = end
    return b"".join([*kept, frame[at : _end_of_tiles(frame, at)], _EOC])


def _end_of_tiles(frame: bytes, at: int) -> int:
    """Return where the last tile-part ends.

    Raises:
        ValueError: When a tile-part holds a comment: its length would change.
    """
    while frame[at : at + 2] == bytes((0xFF, _SOT)):
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        data = at + 12
        while frame[data + 1] != _SOD:
            if frame[data] != 0xFF or frame[data + 1] == _J2K_COM:
                raise ValueError("text within the tiles of compressed pixels")
            data += 2 + int.from_bytes(frame[data + 2 : data + 4], "big")
        end = at + length if length else frame.find(_EOC, data)  # no marker above 0xFF8F is in the data (ISO/IEC 15444-1, B.10.1)
        if not data < end <= len(frame):
            raise ValueError("damaged compressed pixels")
        at = end
    return at
