"""Refusals as MONAI Label's server answers them: it would else turn every exception into a bare 500."""

from __future__ import annotations

from fastapi import HTTPException

from minivess.errors import MinivessError


def as_http(error: MinivessError) -> HTTPException:
    """Turn a refusal into an answer that carries its words."""
    return HTTPException(status_code=error.http_status, detail=f"{type(error).__name__}: {error}")
