"""A slow server, a server that goes away, answers kept and sent later: the window lives, nothing is lost."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from MinIVessReviewLib.client import Client, ServerError
from MinIVessReviewLib.outbox import Outbox
from MinIVessReviewLib.worker import Worker

SLOW_S = 0.8


class Server(http.server.ThreadingHTTPServer):
    """Takes what comes, slowly; refuses some."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.got.append((self.path, json.loads(body or b"null")))
        if self.path.startswith("/slow"):
            time.sleep(SLOW_S)
        status = int(self.path.rsplit("/", 1)[-1]) if self.path.rsplit("/", 1)[-1].isdigit() else 200
        answer = json.dumps({"ok": self.path, "detail": "no such thing"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        yield found
        found.shutdown()


@pytest.fixture
def worker(qapp: Any) -> Iterator[Worker]:
    found = Worker()
    yield found
    found.stop()


def test_the_window_lives_while_a_slow_server_answers(server: Server, worker: Worker, pump: Callable[..., int]) -> None:
    told: list[Any] = []
    client = Client(server.url)
    worker.submit(lambda _: client.json("GET", "/slow"), lambda r: told.append((r, threading.current_thread())), told.append)
    ticks = pump(lambda: told)
    assert told[0][0]["ok"] == "/slow"
    assert told[0][1] is threading.main_thread()
    assert ticks > SLOW_S / 0.010 / 4, "a frozen window would have had none"


def test_what_is_cancelled_does_not_come_back(server: Server, worker: Worker, pump: Callable[..., int]) -> None:
    told: list[Any] = []
    client = Client(server.url)
    worker.submit(lambda _: client.json("GET", "/slow"), told.append, told.append)
    worker.submit(lambda _: client.json("GET", "/never"), told.append, told.append)
    pump(lambda: server.got)
    worker.cancel()
    pump(lambda: not worker.busy)
    assert told == []
    assert [path for path, _ in server.got] == ["/slow"]


def test_what_could_not_be_sent_is_kept_and_sent_in_order(server: Server, tmp_path: Path) -> None:
    gone = Client("http://127.0.0.1:9", timeout_s=1)
    box = Outbox(tmp_path / "unsent.json")
    for number in range(3):
        name = box.add(gone, "POST", f"/answer/a{number}", body=number)
        assert name not in box.send(gone)
    again = Outbox(tmp_path / "unsent.json")  # Slicer was closed meanwhile
    assert len(again) == 3
    back = Client(server.url)
    for item in again.items:
        item["url"] = server.url  # the same server, in truth
    last = again.add(back, "POST", "/answer/a3", body=3)
    back.person = "somebody else"
    assert again.send(back) == {}
    back.person = ""
    assert again.send(back)[last]["ok"] == "/answer/a3"
    assert [body for _, body in server.got] == [0, 1, 2, 3]
    assert len(Outbox(tmp_path / "unsent.json")) == 0


def test_what_is_refused_for_good_is_said_and_not_sent_again(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent.json"), Client(server.url)
    with pytest.raises(ServerError, match="no such thing"):
        box.add(client, "POST", "/answer/404")
        box.send(client)
    assert len(box) == 0
    box.add(client, "POST", "/answer/503")
    assert box.send(client) == {}
    assert len(box) == 1
