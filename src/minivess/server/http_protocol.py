"""Limits of connections: how many, and how long a client may take to send a header or to read a response.

uvicorn has no such limit, so that half-sent requests and unread responses of one client, who needs no token, would use up the
sockets of all.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds for the header of a request, from the first byte or from the start of the connection.
HEADER_TIMEOUT_S = 15.0
#: Seconds without reading for which a client may leave a part of a response that does not fit into the buffers.
READ_TIMEOUT_S = 60.0
#: Open connections; beyond it, the oldest one that is idle after a response is closed, else that whose request has not come yet,
#: else the oldest of the address that has most.
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
    """HTTP/1.1 with time limits for headers and for reading, and a limited number of connections."""

    _waiting: dict[LimitedProtocol, asyncio.TimerHandle] = {}  # noqa: RUF012 (of all connections; the oldest first)
    _idle: dict[LimitedProtocol, None] = {}  # noqa: RUF012 (likewise: those that have had a response)
    _open: dict[LimitedProtocol, str] = {}  # noqa: RUF012 (likewise: all, with the address of the client)
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, and make room for it."""
        super().connection_made(transport)
        LimitedProtocol._open[self] = self.client[0] if self.client else ""
        self._watch()
        if len(LimitedProtocol._open) > MAX_CONNECTIONS:
            self._make_room()

    def pause_writing(self) -> None:
        """Wait for the client to read; it is closed when it does not."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._stop_reading_limit()

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
        self._forget()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """Close the connection that is needed least, but not this one, whose request may be somebody's first."""
        before = (*LimitedProtocol._idle, *(other for other in LimitedProtocol._waiting if other is not self))
        if before:
            chosen = before[0]
        else:
            (busiest, _), *_ = Counter(LimitedProtocol._open.values()).most_common(1)
            chosen = next(other for other, address in LimitedProtocol._open.items() if address == busiest)
        chosen._forget()  # its end is told later: the next caller closes another one
        chosen.transport.abort()

    def _forget(self) -> None:
        LimitedProtocol._idle.pop(self, None)
        LimitedProtocol._open.pop(self, None)
        self._unwatch()
        self._stop_reading_limit()

    def _wait_for_reader(self) -> None:
        self._unread = self.loop.call_later(READ_TIMEOUT_S, self._close_unread, self.transport.get_write_buffer_size())

    def _close_unread(self, size: int) -> None:
        if self.transport.get_write_buffer_size() < size:  # slowly, but it is read
            self._wait_for_reader()
        else:
            self.transport.abort()

    def _stop_reading_limit(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

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
