"""Endpoints for operators: alive, ready, metrics; and the way to the page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

import minivess
from minivess.server.dependencies import App
from minivess.server.guard import PAGE
from minivess.server.roles import requires

router = APIRouter(tags=["Health"])


@router.get("/", include_in_schema=False, dependencies=[requires("reader")])
async def root() -> RedirectResponse:
    """Redirect to the page."""
    return RedirectResponse(PAGE)


@router.get("/healthz", summary="The process is alive", dependencies=[requires("reader")])
async def healthz() -> dict[str, str]:
    """Return status and version."""
    return {"status": "alive", "version": minivess.__version__}


@router.get("/readyz", summary="Studies and index can be read", dependencies=[requires("reader")])
def readyz(app: App) -> dict[str, str]:
    """Return the status; fails when the studies or the index cannot be read. It costs the same for any number of images."""
    app.datastore().store.check_readable()
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse, dependencies=[requires("reader")])
def metrics(request: Request) -> Response:
    """Return counters and durations."""
    return Response(request.app.state.telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)
