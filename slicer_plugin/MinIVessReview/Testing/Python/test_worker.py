"""A slow server, a server that does not answer, unsent entries: the window stays alive, nothing is lost."""

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
from MinIVessReviewLib.server_tasks import EntryRefusedError, ServerTasks
from MinIVessReviewLib.worker import Worker

SLOW_S = 0.8


class Server(http.server.ThreadingHTTPServer):
    """Answers every request: after a while, after `released` is set, or with the status at the end of the path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, Any]] = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.got.append((self.path, json.loads(body or b"null")))
        if self.path.startswith("/slow"):
            time.sleep(SLOW_S)
        if self.path.startswith("/held"):
            self.server.released.wait(60)
        status = int(self.path.rsplit("/", 1)[-1]) if self.path.rsplit("/", 1)[-1].isdigit() else 200
        reply = json.dumps({"ok": self.path, "detail": "no such thing"}).encode()
        reply = b"<html>" if self.path == "/unreadable" else reply
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Log nothing."""


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


def test_a_cancelled_task_gives_no_result(server: Server, worker: Worker, pump: Callable[..., int]) -> None:
    results: list[Any] = []
    threads: list[threading.Thread] = []
    client = Client(server.url)

    def held(_context: Any) -> Any:
        threads.append(threading.current_thread())
        return client.json("GET", "/held")

    worker.submit(held, results.append, results.append)
    worker.submit(lambda _: client.json("GET", "/never"), results.append, results.append)
    pump(lambda: server.got)
    worker.cancel()
    assert not worker.busy
    worker.submit(lambda _: client.json("GET", "/at-once"), results.append, results.append)
    pump(lambda: results)  # it does not wait behind the request that is held
    server.released.set()
    threads[0].join(30)
    assert not threads[0].is_alive(), "the thread has no task left"
    worker.deliver()
    assert [row["ok"] for row in results] == ["/at-once"]
    assert [path for path, _ in server.got] == ["/held", "/at-once"]


def test_no_object_of_the_window_is_deleted_in_the_thread(worker: Worker, pump: Callable[..., int]) -> None:
    """A Qt or VTK object that is deleted in another thread can crash Slicer."""
    ends: list[threading.Thread] = []

    class OfTheWindow:
        def __del__(self) -> None:
            ends.append(threading.current_thread())

        def done(self, _result: Any) -> None:
            """Refer to the window."""

    def fail(_call: Any) -> None:
        raise ServerError(0, "no answer")

    for work in (lambda _: 1, fail):
        window = OfTheWindow()
        worker.submit(work, window.done, window.done)
        del window
        pump(lambda: not worker.busy)
    threads: list[threading.Thread] = []
    released = threading.Event()

    def held(_context: Any) -> None:
        threads.append(threading.current_thread())
        released.wait(60)

    window = OfTheWindow()
    worker.submit(held, window.done, window.done)
    pump(lambda: threads)
    del window
    worker.cancel()
    released.set()
    threads[0].join(30)
    assert not threads[0].is_alive()
    assert ends == [threading.main_thread()] * 3


def test_unsent_entries_are_sent_in_order(server: Server, tmp_path: Path) -> None:
    gone = Client("http://127.0.0.1:9", timeout_s=1)
    box = Outbox(tmp_path / "unsent")
    for number in range(3):
        name = box.add(gone, "POST", f"/answer/a{number}", body=number)
        result = box.send(gone)
        assert name not in result.replies
        assert "does not answer" in str(result.stopped)
    for file in (tmp_path / "unsent").glob("*.json"):
        file.write_text(file.read_text().replace(gone.url, server.url))  # in truth the same server
    again, back = Outbox(tmp_path / "unsent"), Client(server.url)  # after Slicer was closed
    last = again.add(back, "POST", "/answer/a3", body=3)
    beside = box.add(back, "POST", "/answer/a4", body=4)  # another Slicer on the same computer
    back.user = "somebody else"
    assert again.send(back).replies == {}
    back.user = ""
    result = again.send(back)
    assert [result.replies[name]["ok"] for name in (last, beside)] == ["/answer/a3", "/answer/a4"]
    assert [body for _, body in server.got] == [0, 1, 2, 3, 4]
    assert len(again) == len(box) == 0


def test_entries_stay_in_order_when_the_clock_is_set_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    for number, now in enumerate((5_000, 3_000, 4_000)):
        monkeypatch.setattr("MinIVessReviewLib.outbox.time.time_ns", lambda now=now: now)
        box.add(client, "POST", "/answer", body=number)
    box.send(client)
    assert [body for _, body in server.got] == [0, 1, 2]


@pytest.mark.parametrize("text", ['{"url": ', "[1, 2]", '{"url": "http://127.0.0.1", "person": "", "after": ""}', "\udcff\udcfe"])
def test_a_damaged_entry_is_set_aside_and_named_once(server: Server, tmp_path: Path, text: str) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    damaged = box.add(client, "POST", "/answer/a")
    box.add(client, "POST", "/answer/b")
    (tmp_path / "unsent" / f"{damaged}.json").write_bytes(text.encode(errors="surrogateescape"))
    tasks = ServerTasks(client, box)
    assert box.count(client) == 1
    for _ in range(2):
        tasks.send()
    assert [path for path, _ in server.got] == ["/answer/b"]
    aside = tmp_path / "unsent" / f"{damaged}.damaged"
    assert list((tmp_path / "unsent").iterdir()) == [aside]
    assert len(tasks.notices) == 1
    assert str(aside) in tasks.notices[0]


def test_a_refused_entry_is_removed_with_those_after_it(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    refused = box.add(client, "POST", "/answer/404")
    behind = box.add(client, "POST", "/answer/of-the-stroke-before", after=refused)
    taken = box.add(client, "POST", "/answer/b")
    result = box.send(client)
    assert "no such thing" in str(result.refused[refused])
    assert result.refused[behind] is result.refused[refused]
    assert [path for path, _ in server.got] == ["/answer/404", "/answer/b"]
    assert result.replies[taken]["ok"] == "/answer/b"
    assert len(box) == 0


def test_an_entry_after_a_refused_one_is_never_sent(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    refused = box.add(client, "POST", "/stroke/422")
    box.add(client, "POST", "/other/503")
    box.add(client, "POST", "/answer/a", after=refused)
    tasks = ServerTasks(client, box)
    assert tasks.send().stopped.status == 503  # before the answer's turn
    assert len(box) == 1
    assert len(tasks.notices) == 1, "one refusal, told once"
    assert "no such thing" in tasks.notices[0]
    late = box.add(client, "POST", "/answer/b", after=refused)  # written while the stroke was being refused
    (tmp_path / "unsent" / f"{box.names()[0]}.json").unlink()
    with pytest.raises(EntryRefusedError, match="no such thing"):
        tasks.send(late)
    assert [path for path, _ in server.got] == ["/stroke/422", "/other/503"]


def test_an_entry_after_a_damaged_one_is_never_sent(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    damaged = box.add(client, "POST", "/stroke")
    waiting = box.add(client, "POST", "/other/503")
    box.add(client, "POST", "/answer/a", after=damaged)
    (tmp_path / "unsent" / f"{damaged}.json").write_text("{")
    assert box.send(client).stopped.status == 503  # before the answer's turn
    (tmp_path / "unsent" / f"{waiting}.json").unlink()
    (error,) = Outbox(tmp_path / "unsent").send(client).refused.values()  # after Slicer was closed
    assert "was damaged" in str(error)
    assert [path for path, _ in server.got] == ["/other/503"]


@pytest.mark.parametrize(
    ("status", "temporary"),
    [(s, s in (401, 408, 429) or s >= 500) for s in (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503, 507)],
)
def test_a_temporary_failure_stops_sending_and_a_refusal_does_not(
    server: Server, tmp_path: Path, status: int, temporary: bool
) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    box.add(client, "POST", f"/answer/{status}")
    box.add(client, "POST", "/answer/b")
    result = box.send(client)
    assert (len(box), len(result.replies), len(result.refused)) == ((2, 0, 0) if temporary else (0, 1, 1))
    assert (result.stopped is not None) == temporary


def test_a_reply_that_cannot_be_read_is_a_temporary_failure(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    box.add(client, "POST", "/unreadable")
    assert "could not be read" in str(box.send(client).stopped)
    assert len(box) == 1


def test_no_request_overtakes_an_unsent_entry(server: Server, tmp_path: Path) -> None:
    box, client = Outbox(tmp_path / "unsent"), Client(server.url)
    box.add(client, "POST", "/answer/503")
    tasks = ServerTasks(client, box)
    for task, arguments in (
        (tasks.next_item, ("a",)),
        (tasks.undo, ("a", "a:1", "", tmp_path, False)),
        (tasks.redo, ("a",)),
        (tasks.take, ("a:1", "")),
    ):
        with pytest.raises(ServerError) as error:
            task(*arguments, None)
        assert error.value.status == 503
    assert {path for path, _ in server.got} == {"/answer/503"}
