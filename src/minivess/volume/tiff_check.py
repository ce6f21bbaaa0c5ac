"""Check that a TIFF file is complete and contains all its planes, before they are read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

from minivess.errors import InputError, UnsafeFileError
from minivess.volume.tiff_directories import check_directories

#: What tifffile logs, and reads on without the planes that it did not find.
_DAMAGE = ("invalid page offset", "invalid value offset", "corrupted", "failed to reshape", "failed to read", "Missing data")
#: Kinds of series whose planes or index are in other files.
_OTHER_FILES = ("ndtiff", "mmstack")


@contextmanager
def open_complete_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; no other file is opened, whatever its metadata name.

    Yields:
        The open file; its planes are all there.

    Raises:
        UnsafeFileError: When its metadata place planes in other files.
        InputError: When the file is cut off, or has fewer planes than its metadata state.
        TiffFileError: When it is not TIFF.
    """
    check_directories(path)
    with _log_of_tifffile() as messages, tifffile.TiffFile(path, _multifile=False) as file:
        series = file.series
        damage = next((text for text in messages if any(word in text for word in _DAMAGE)), "")
        if series and (series[0].kind in _OTHER_FILES or any(page is None for page in series[0].pages)):
            raise UnsafeFileError(
                f"{path.name}: its metadata place planes in other files. Only files that contain all their planes are read. Save "
                "it as one OME-TIFF, for example with Fiji; or name the folder, where each file is one slice."
            )
        size = path.stat().st_size
        pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage | tifffile.TiffFrame)]
        beyond = sum(any(o + n > size for o, n in zip(p.dataoffsets, p.databytecounts, strict=False)) for p in pages)
        lost = (file.ome_metadata and series[0].kind != "ome") or (file.imagej_metadata and series[0].kind != "imagej")
        if lost and not beyond and not damage:
            raise UnsafeFileError(
                f"{path.name}: its metadata state planes that are not in it: they are in other files, or were lost. Only files "
                "that contain all their planes are read. Save it as one OME-TIFF, for example with Fiji; or name the folder, "
                "where each file is one slice."
            )
        if beyond or damage:
            found = f"{len(pages)} planes were found" + (f", {beyond} of them beyond the end of the file" if beyond else "")
            raise InputError(f"{path.name}: the file is cut off or damaged: {found}. {damage[:120]} Copy it again.")
        yield file


@contextmanager
def _log_of_tifffile() -> Iterator[list[str]]:
    """Collect what tifffile logs in the block and this thread, instead of printing it."""
    messages: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return False  # it goes no further

    logger = logging.getLogger("tifffile")
    logger.addFilter(collect)
    try:
        yield messages
    finally:
        logger.removeFilter(collect)
