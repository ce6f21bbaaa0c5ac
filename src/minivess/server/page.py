"""The page in the browser: static files at ``/app/``, which send requests to this server only."""

from __future__ import annotations

from pathlib import Path

from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

#: Content Security Policy: no other host. niivue compiles decoders (wasm), starts workers from blobs, and has a font as data URL.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)


class Page(StaticFiles):
    """The files of the page, with a policy that allows no other host."""

    def __init__(self) -> None:
        """Serve the folder ``page`` beside this file."""
        super().__init__(directory=Path(__file__).with_name("page"), html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with a file.

        Args:
            scope: ASGI scope.
            receive: ASGI receive.
            send: ASGI send.
        """

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                rules = {
                    b"content-security-policy": POLICY.encode(),
                    b"referrer-policy": b"no-referrer",
                    b"cache-control": b"no-cache",
                }
                message["headers"] = [*message["headers"], *rules.items()]
            await send(message)

        await super().__call__(scope, receive, sending)
