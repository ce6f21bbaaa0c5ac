"""Correct the content type of multipart forms: Slicer's client, once it is logged in, sends that of its last request."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class MultipartContentType:
    """ASGI middleware: an upload to ``/session/`` whose body starts as a multipart form gets the header of that form.

    Slicer's client may also send the boundary of its last request; the first line of the body is right.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Correct the header by the first bytes of the body.

        Args:
            scope: ASGI scope.
            receive: ASGI receive.
            send: ASGI send.
        """
        if scope["type"] != "http" or scope["method"] != "PUT" or scope["path"] != "/session/":
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        first: Message | None = await receive()
        body = first.get("body", b"") if first else b""
        line = body[:200].partition(b"\r\n")[0]
        if line.startswith(b"--") and line.isascii():
            headers["content-type"] = f'multipart/form-data; boundary="{line[2:].decode()}"'

        async def replay() -> Message:
            nonlocal first
            message, first = first, None
            return message if message is not None else await receive()

        await self.app(scope, replay, send)
