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
    assert not worker.busy
    worker.submit(lambda _: client.json("GET", "/at-once"), told.append, told.append)
    begun = time.monotonic()
    pump(lambda: told)
    assert time.monotonic() - begun < SLOW_S / 2, "it does not wait behind what was given up"
    assert [row["ok"] for row in told] == ["/at-once"]
    time.sleep(SLOW_S)
    worker.deliver()
    assert [path for path, _ in server.got] == ["/slow", "/at-once"]
    assert len(told) == 1


def test_nothing_of_the_window_dies_in_the_thread(worker: Worker, pump: Callable[..., int]) -> None:
    """An object of Qt or VTK that goes in another thread takes Slicer down with it."""
    ends: list[threading.Thread] = []

    class OfTheWindow:
        def __del__(self) -> None:
            ends.append(threading.current_thread())

        def done(self, _result: Any) -> None:
            """Keep the window."""

    def fail(_call: Any) -> None:
        raise ServerError(0, "no answer")

    for work in (lambda _: 1, fail):
        window = OfTheWindow()
        worker.submit(work, window.done, window.done)
        del window
        pump(lambda: not worker.busy)
    window = OfTheWindow()
    worker.submit(lambda _: time.sleep(0.3), window.done, window.done)
    del window
    worker.cancel()
    time.sleep(0.5)
    assert ends == [threading.main_thread()] * 3


def test_what_could_not_be_sent_is_kept_and_sent_in_order(server: Server, tmp_path: Path) -> None:
    gone = Client("http://127.0.0.1:9", timeout_s=1)
    box = Outbox(tmp_path / "unsent")
    for number in range(3):
        name = box.add(gone, "POST", f"/answer/a{number}", body=number)
        sent = box.send(gone)
        assert name not in sent.replies
        assert "does not answer" in str(sent.stopped)
    for file in (tmp_path / "unsent").glob("*.json"):
        file.write_text(file.read_text().replace(gone.url, server.url))  # the same server, in truth
    (tmp_path / "unsent" / "00-torn.json").write_text('{"url": ')
    again, back = Outbox(tmp_path / "unsent"), Client(server.url)  # Slicer was closed meanwhile
    last = again.add(back, "POST", "/answer/a3", body=3)
    beside = box.add(back, "POST", "/answer/a4", body=4)  # another Slicer on the same computer
    back.person = "somebody else"
    assert again.send(back).replies == {}
    back.person = ""
    sent = again.send(back)
    assert [sent.replies[name]["ok"] for name in (last, beside)] == ["/answer/a3", "/answer/a4"]
    assert [body for _, body in server.got] == [0, 1, 2, 3, 4]
    assert len(again) == len(box) == 0
    assert [file.name for file in (tmp_path / "unsent").iterdir()] == ["00-torn.damaged"]


def test_what_is_refused_for_good_is_said_and_not_sent_again(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    refused = box.add(client, "POST", "/answer/404")
    behind = box.add(client, "POST", "/answer/of-the-stroke-before", after=refused)
    taken = box.add(client, "POST", "/answer/b")
    sent = box.send(client)
    assert "no such thing" in str(sent.refused[refused])
    assert sent.refused[behind] is sent.refused[refused]
    assert [path for path, _ in server.got] == ["/answer/404", "/answer/b"]
    assert sent.replies[taken]["ok"] == "/answer/b"
    assert len(box) == 0
    box.add(client, "POST", "/answer/503")
    assert box.send(client).stopped.status == 503
    assert len(box) == 1
