"""Limits of connections: how many, and how long a client may take to send the header of a request.

uvicorn has neither limit, so that half-sent requests of one client, who needs no token, would use up the sockets of all.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds for the header of a request, from the first byte or from the start of the connection.
HEADER_TIMEOUT_S = 15.0
#: Open connections; beyond it, the oldest one that is idle after a response is closed, else that whose request has not come yet.
MAX_CONNECTIONS = 400
#: Open files that the process asks for: connections, images, labels and the index.
_OPEN_FILES = 4096


def raise_open_file_limit() -> None:
    """Raise the limit of open files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for headers and a limited number of connections."""

    _waiting: dict[LimitedProtocol, asyncio.TimerHandle] = {}  # noqa: RUF012 (of all connections; the oldest first)
    _idle: dict[LimitedProtocol, None] = {}  # noqa: RUF012 (likewise: those that have had a response)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, and make room for it."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MAX_CONNECTIONS:
            oldest = next(iter((*LimitedProtocol._idle, *LimitedProtocol._waiting)))
            LimitedProtocol._idle.pop(oldest, None)  # its end is told later: the next caller closes another one
            oldest._unwatch()
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass data on; the time limit ends when the header is complete, and begins again with the next request."""
        LimitedProtocol._idle.pop(self, None)
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._watch()
        else:
            self._unwatch()

    def on_response_complete(self) -> None:
        """Note that a connection is idle; uvicorn keeps it for a next request."""
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:  # else the next request was there already
            LimitedProtocol._idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        LimitedProtocol._idle.pop(self, None)
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self not in LimitedProtocol._waiting:
            LimitedProtocol._waiting[self] = self.loop.call_later(HEADER_TIMEOUT_S, self._close_waiting)

    def _unwatch(self) -> None:
        timer = LimitedProtocol._waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _close_waiting(self) -> None:
        self._unwatch()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


#: Options of uvicorn that its command line, and MONAI Label's, do not have.
UVICORN_OPTIONS: dict[str, Any] = {
    "http": LimitedProtocol,
    "backlog": 128,  # asyncio accepts that many at once, before any limit is looked at
    "timeout_keep_alive": 30,
    "timeout_graceful_shutdown": 4,
}
