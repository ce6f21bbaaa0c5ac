"""Errors of damaged DICOM files: pydicom converts elements when they are used, and raises what it likes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import InvalidDicomError

from minivess.errors import InputError, MinivessError, OutputError

_OF_THE_SYSTEM = frozenset({errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT})


@contextmanager
def damaged_dicom(name: str) -> Iterator[None]:
    """Turn whatever pydicom and highdicom raise in the block into our own error.

    Args:
        name: What is read, for the message.

    Raises:
        InputError: When the block raises anything but our own errors.
        OutputError: When the disk or the system fails, which is no fault of the file.
    """
    try:
        yield
    except (MinivessError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            failure = OutputError(f"{name} cannot be read now: {error.strerror}. Look at the disk, then try again.")
            failure.errno, failure.strerror = error.errno, error.strerror
            raise failure from error
        raise InputError(f"{name} cannot be read as DICOM ({_reason(error)}). Export it again.") from error


def _reason(error: Exception) -> str:
    """Return what is wrong; the messages of other errors may quote the patient's data."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, InvalidDicomError):
        return str(error).partition(". ")[0]  # then comes advice for programmers
    if isinstance(error, (NotImplementedError, RuntimeError)):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
