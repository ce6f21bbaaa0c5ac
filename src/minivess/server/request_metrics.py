"""Count, time, trace and log every request, by its route and never by its path."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivess.server.dependencies import ACCOUNT_KEY, REQUEST_ID_KEY
from minivess.telemetry import Telemetry

_logger = logging.getLogger("minivess.request")
_POLLED = ("/healthz", "/readyz", "/metrics", "/info/", "/jobs/", "/jobs/{job_id}")  # polled by clients: counted, not logged


class RequestMetrics:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        """Wrap an application.

        Args:
            app: The application.
            telemetry: Where requests are counted.
        """
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and record its result.

        Args:
            scope: ASGI scope.
            receive: ASGI receive.
            send: ASGI send.
        """
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
                name = str(scope.get(REQUEST_ID_KEY, ""))
                method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
                self.telemetry.requested(span, method=method, route=route, status=status, seconds=seconds, request_id=name)
                if route not in _POLLED or status >= 400:
                    account = scope.get(ACCOUNT_KEY)
                    fields = {
                        "method": method,
                        "route": route,
                        "status": status,
                        "seconds": round(seconds, 4),
                        "request_id": name,
                        "user": account.name if account else "",
                    }
                    _logger.info("%s %s %d", method, route, status, extra={"fields": fields})


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
