"""Exceptions of MinIVess.

A message states what is wrong, what was received, what is allowed and what to do. The HTTP status and the exit code
of the command line are attributes of the class, so that each is defined once.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection
from pathlib import Path

#: Names of the errors whose reason is what was given: another try ends the same.
ABOUT_INPUT = ("InputError", "UnsupportedFormatError", "GeometryError", "UnsafeFileError")

#: Names of those whose reason is the place: when it is in order again, another try may succeed, however often it failed.
ABOUT_PLACE = ("EngineError", "OutputError", "BusyError", "BundleError", "WeightsError")


class MinivessError(Exception):
    """Base class of all exceptions that MinIVess raises intentionally.

    Attributes:
        http_status: Status code of the server's response.
        exit_code: Exit code of the command line.
    """

    http_status = 500
    exit_code = 1


class InputError(MinivessError):
    """Raised when a value, a file or an option cannot be used."""

    http_status = 422


class UsageError(MinivessError):
    """Raised when a command is called with options or arguments that it does not accept."""

    http_status = 400
    exit_code = 2


class NotFoundError(InputError):
    """Raised when nothing is stored under a name."""

    http_status = 404


class UnsupportedFormatError(InputError):
    """Raised when the content of a file is in no supported format, whatever its suffix."""

    http_status = 415


class ConflictError(MinivessError):
    """Raised when a request conflicts with the current state, for example with a change by another user."""

    http_status = 409


class OutdatedError(ConflictError):
    """Raised when what a change was made from has changed meanwhile: read it again."""


class StoreError(MinivessError):
    """Raised when the store is damaged, or cannot be read or written now; nothing was changed."""

    http_status = 503


class DamagedLabelError(StoreError):
    """Raised when the file of a label is missing, or is not the one that was submitted."""

    http_status = 410


class UncertainWriteError(StoreError):
    """Raised when a write failed and could not be undone: it is not known whether the change was stored."""


class CancelledError(MinivessError):
    """Raised inside a job that a user cancelled."""

    http_status = 409


class DeadlineError(MinivessError):
    """Raised when a job exceeds its time limit."""

    http_status = 504


class RemoteError(MinivessError):
    """Raised when another server does not respond, or responds with an error."""

    http_status = 502


class EngineError(MinivessError):
    """Raised when a container engine is missing, does not answer or fails; what it was to work on is not the reason."""

    http_status = 503


class LockoutError(MinivessError):
    """Raised when training data overlap the sealed test set, or the sealed test set was modified."""

    http_status = 403


class BusyError(MinivessError):
    """Raised when no further job is accepted now, because too many are running or waiting."""

    http_status = 503


class GeometryError(InputError):
    """Raised when an affine, a spacing or a slice order does not describe one regular volume."""


class UnsafeFileError(MinivessError):
    """Raised when a file or a name refers to something outside its folder, or a file is too large to open."""

    http_status = 400


class BundleError(MinivessError):
    """Raised when the configuration of a bundle is incomplete or contains expressions that are not allowed."""

    http_status = 422


class WeightsError(MinivessError):
    """Raised when weights are missing, damaged or made for another network."""

    http_status = 422


class MissingExtraError(MinivessError, ImportError):
    """Raised when the optional packages of a feature are not installed."""

    http_status = 501


class OutputError(MinivessError, OSError):
    """Raised when a file or a folder cannot be written, for example because the disk is full.

    ``errno``, ``strerror`` and ``filename`` are those of an OSError; all are None when the system reported no error.
    """

    http_status = 507

    @classmethod
    def from_os_error(cls, path: Path, error: OSError) -> OutputError:
        """Build the exception for a failed write.

        Args:
            path: File or folder that cannot be written; it becomes ``filename``.
            error: Exception that the write raised; ``errno`` and ``strerror`` are copied from it.
        """
        reason = error.strerror or str(error)
        failure = cls(f"Cannot write {path}: {reason}. Free space on the disk, or choose a folder that you may write to.")
        failure.errno, failure.strerror, failure.filename = error.errno, reason, str(path)
        return failure

    def __str__(self) -> str:
        """Return the message without the error number that OSError puts before it."""
        return str(self.args[0]) if self.args else ""


def without_message(error: BaseException) -> str:
    """Return where an error was raised and its type, without its message: that may quote a patient's data."""
    return "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__


def check_known(what: str, name: object, known: Collection[str]) -> None:
    """Check that something is known by its name.

    Args:
        what: What it is, for the message, for example ``model``.
        name: The name that was received.
        known: The names that there are.

    Raises:
        NotFoundError: When it is not.
    """
    if name not in known:
        raise NotFoundError(f"There is no {what} {str(name)[:60]!r}. Allowed: {', '.join(known) or 'there is none yet'}.")
