"""Convert errors for MONAI Label's server, which would otherwise answer every exception with a bare status 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from minivess.errors import MinivessError


def as_http(error: MinivessError) -> HTTPException:
    """Return an HTTP error with the status and the message of an error."""
    return HTTPException(status_code=error.http_status, detail=f"{type(error).__name__}: {error}")


@contextmanager
def http_errors() -> Iterator[None]:
    """Convert every :class:`MinivessError` of the block.

    Raises:
        HTTPException: Instead of the error.
    """
    try:
        yield
    except MinivessError as error:
        raise as_http(error) from error
