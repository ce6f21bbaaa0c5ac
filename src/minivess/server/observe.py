"""Every request is counted, timed, traced and logged, by its route and never by its address."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivess.telemetry import Telemetry

_logger = logging.getLogger("minivess.request")
_QUIET = ("/healthz", "/readyz", "/metrics", "/info/", "/jobs/", "/jobs/{job_id}")  # polled all the time: counted, not logged


class Observe:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        """Stand before an application."""
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass and record what came of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.telemetry.request_span(scope["method"]) as span:
            try:
                await self.app(scope, receive, sending)
            finally:
                route, seconds = getattr(scope.get("route"), "path", "(none)"), time.monotonic() - start
                name = str(scope.get("minivess.request_id", ""))
                method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
                self.telemetry.requested(span, method=method, route=route, status=status, seconds=seconds, request_id=name)
                if route not in _QUIET or status >= 400:
                    person = scope.get("minivess.person")
                    fields = {
                        "method": method,
                        "route": route,
                        "status": status,
                        "seconds": round(seconds, 4),
                        "request_id": name,
                        "person": person.name if person else "",
                    }
                    _logger.info("%s %s %d", method, route, status, extra={"fields": fields})


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
