"""Decode JPEG Extended with 12 bits (1.2.840.10008.1.2.4.51) by libjpeg-turbo: pydicom's own decoder for it is under the GPL."""

from __future__ import annotations

from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING

from pydicom.uid import JPEGExtended12Bit

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

_NAME = "imagecodecs"
_lock = Lock()
#: What pydicom asks of a module that decodes.
DECODER_DEPENDENCIES = {JPEGExtended12Bit: (_NAME,)}


def register() -> None:
    """Add this decoder to pydicom's, once in a process."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(JPEGExtended12Bit)
    with _lock:
        if _NAME not in decoder.available_plugins:
            decoder.add_plugin(_NAME, (__name__, "decode_frame"))


def is_available(uid: str) -> bool:
    """Return whether a transfer syntax can be decoded here, as pydicom asks."""
    return uid in DECODER_DEPENDENCIES and find_spec(_NAME) is not None


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame, as pydicom asks.

    Args:
        src: The compressed frame.
        runner: What the header says of the frame.

    Returns:
        The pixels, row by row, as many bytes each as the header states.
    """
    import imagecodecs

    return bytes(imagecodecs.jpeg_decode(src).astype(f"<u{runner.bits_allocated // 8}").tobytes())
