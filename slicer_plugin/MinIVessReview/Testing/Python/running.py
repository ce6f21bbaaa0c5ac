"""A server that runs in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

BIN = Path(__file__).resolve().parents[4] / ".venv" / "bin"


class Lab:
    """A running server: its address, its folder, and the tokens of its users by name."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        program = [str(BIN / "python"), str(Path(__file__).with_name("serve_lab.py")), str(folder), kind]
        self.process = subprocess.Popen(program, stdout=subprocess.PIPE, start_new_session=True)
        line = self.process.stdout.readline().decode().split(maxsplit=2)
        assert line[:1] == ["ready"], "the server did not start"
        self.url, self.tokens = line[1], json.loads(line[2])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()

    def user(self, verb: str, name: str) -> None:
        """Add an account with a new token, or remove it."""
        role = ["--role", "annotator"] if verb == "add" else []
        done = subprocess.run(
            [str(BIN / "minivess"), "user", verb, name, *role, "--workspace", str(self.folder), "--json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.tokens[name] = json.loads(done.stdout).get("token", "")


def get(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read()


def post(url: str, token: str, **form: str) -> Any:
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


class Relay:
    """A connection to the server that can be slow, be cut and restored, and lose the reply to the next POST."""

    def __init__(self, url: str, delay_s: float = 0.0) -> None:
        self.delay_s, self.lose_next_reply = delay_s, False
        self._to = urllib.parse.urlsplit(url)
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def cut(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in self._open:
            end.close()
        self._open = []

    def restore(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                here, _ = listening.accept()
            except OSError:
                return
            there = socket.create_connection((self._to.hostname, self._to.port))
            self._open += [here, there]
            lost = threading.Event()
            threading.Thread(target=self._carry_requests, args=(here, there, lost), daemon=True).start()
            threading.Thread(target=self._carry_replies, args=(there, here, lost), daemon=True).start()

    def _carry_requests(self, here: socket.socket, there: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(1 << 16):
                if self.lose_next_reply and data.startswith(b"POST "):
                    self.lose_next_reply = False
                    lost.set()
                time.sleep(self.delay_s)
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)

    def _carry_replies(self, there: socket.socket, here: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := there.recv(1 << 16):
                if lost.is_set():  # the server has answered: its work is done
                    break
                time.sleep(self.delay_s)
                here.sendall(data)
            here.shutdown(socket.SHUT_RDWR if lost.is_set() else socket.SHUT_WR)
