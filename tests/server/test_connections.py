"""A client that does not read its response is closed after a while; one that reads slowly is not."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from minivess.server import http_protocol
from minivess.server.http_protocol import LimitedProtocol

SIZE = 8 * 2**20


def large(_: Request) -> Response:
    return Response(b"x" * SIZE)


async def read_response(port: int, pause_s: float) -> int:
    """Ask for the large response; read it in steps with pauses, the first one included; return how much arrived."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    loop, got = asyncio.get_running_loop(), 0
    await loop.sock_connect(reader, ("127.0.0.1", port))
    await loop.sock_sendall(reader, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    try:
        while got < SIZE:
            await asyncio.sleep(pause_s)
            part = b""
            while len(part) < SIZE // 8 and (more := await loop.sock_recv(reader, 2**20)):
                part += more
            if not part:
                break
            got += len(part)
    except ConnectionError:
        pass
    finally:
        reader.close()
    return got


@pytest.mark.parametrize(("pause_s", "whole"), [(0.1, True), (6.0, False)])
def test_a_response_that_nobody_reads_is_ended(monkeypatch: pytest.MonkeyPatch, pause_s: float, whole: bool) -> None:
    monkeypatch.setattr(http_protocol, "READ_TIMEOUT_S", 3.0)  # thirty pauses, or half a one

    async def run() -> int:
        config = uvicorn.Config(Starlette(routes=[Route("/", large)]), port=0, http=LimitedProtocol, log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        got = await read_response(port, pause_s)
        server.should_exit = True
        await serving
        return got

    assert (asyncio.run(run()) >= SIZE) is whole
