"""What went wrong, in words a user can act on.

A message says what was wrong, what was got, what is allowed and what to do. The HTTP status and the exit code of
the command line are attributes of the class: one mapping, no ladders of ``if``.
"""

from __future__ import annotations


class MinivessError(Exception):
    """Base of every error that MinIVess raises on purpose."""

    http_status = 500
    exit_code = 1


class InputError(MinivessError):
    """A value, a file or an option that cannot be used as it is."""

    http_status = 422


class UsageError(MinivessError):
    """A command that was called in a way that it does not know."""

    http_status = 400
    exit_code = 2


class NotFoundError(InputError):
    """A name that nothing is stored under."""

    http_status = 404


class UnsupportedFormatError(InputError):
    """A file whose content is of no format that is read here, whatever its name says."""

    http_status = 415


class ConflictError(MinivessError):
    """A change that meets another one made from the same state; what was sent is kept beside it."""

    http_status = 409


class StoreError(MinivessError):
    """A store that cannot keep what it is given now; nothing was changed."""

    http_status = 503


class CancelledError(MinivessError):
    """Work that somebody has stopped."""

    http_status = 409


class DeadlineError(MinivessError):
    """Work that took longer than it was given."""

    http_status = 504


class RemoteError(MinivessError):
    """Another server that does not answer, or not as it should."""

    http_status = 502


class LockoutError(MinivessError):
    """Learning from what a model is to be reported on, or a test set that is not as it was sealed."""

    http_status = 403


class BusyError(MinivessError):
    """More work at once than is taken."""

    http_status = 503


class GeometryError(InputError):
    """An affine, a spacing or a slice order that does not describe one regular volume."""


class UnsafeFileError(MinivessError):
    """A file or a name that would reach outside the place it was given for, or is too large to open."""

    http_status = 400


class BundleError(MinivessError):
    """A bundle whose configuration is incomplete, or asks for more than the allowed expressions."""

    http_status = 422


class WeightsError(MinivessError):
    """Weights that are missing, damaged, or made for another network."""

    http_status = 422


class MissingExtraError(MinivessError, ImportError):
    """A feature whose optional packages are not installed."""

    http_status = 501


class OutputError(MinivessError):
    """A result that cannot be written where it was asked for."""

    http_status = 507
