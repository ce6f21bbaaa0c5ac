"""Forms sent under the wrong content type: Slicer's client, once it is signed in, keeps that of its last request."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class MislabelledForms:
    """ASGI middleware: an upload to ``/session/`` that begins as a multipart form is one, whatever its header says."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the first bytes of a body, and mend the header."""
        if scope["type"] != "http" or scope["method"] != "PUT" or scope["path"] != "/session/":
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        if headers.get("content-type", "").startswith("multipart/"):
            await self.app(scope, receive, send)
            return
        first: Message | None = await receive()
        body = first.get("body", b"") if first else b""
        line = body[:200].partition(b"\r\n")[0]
        if line.startswith(b"--") and line.isascii():
            headers["content-type"] = f'multipart/form-data; boundary="{line[2:].decode()}"'

        async def again() -> Message:
            nonlocal first
            message, first = first, None
            return message if message is not None else await receive()

        await self.app(scope, again, send)
