"""Strokes and answers, kept in a file before they are sent, and sent in order as soon as the server answers."""

import json
import os
import threading
import uuid
from pathlib import Path
from typing import NamedTuple

from .client import ServerError


class Sent(NamedTuple):
    """What became of what was kept: replies and refusals by name, and why the rest is still kept."""

    replies: dict
    refused: dict
    stopped: ServerError | None


class Outbox:
    """Requests that must not be lost, each with the server and the person it is for. Any thread may use it."""

    def __init__(self, path):
        self._path, self._lock, self._sending = Path(path), threading.RLock(), threading.Lock()
        self.items = json.loads(self._path.read_text()) if self._path.is_file() else []

    def __len__(self):
        return len(self.items)

    def add(self, client, method, path, **content):
        """Keep a request; gives its name."""
        item = {"id": uuid.uuid4().hex, "url": client.url, "person": client.person, "method": method, "path": path, **content}
        with self._lock:
            self._keep([*self.items, item])
        return item["id"]

    def send(self, client):
        """Send what is kept for a server and a person, until nobody answers; what is refused for good is not kept."""
        sent = Sent({}, {}, None)
        with self._sending:  # a thread that was given up may still be at it
            while (item := self._first(client)) is not None:
                try:
                    reply = client.json(item["method"], item["path"], body=item.get("body"), data=item.get("data"))
                    sent.replies[item["id"]] = reply
                except ServerError as error:
                    if error.passing:
                        return sent._replace(stopped=error)
                    sent.refused[item["id"]] = error
                self._drop(item)
        return sent

    def _first(self, client):
        with self._lock:
            mine = (item for item in self.items if (item["url"], item["person"]) == (client.url, client.person))
            return next(mine, None)

    def _drop(self, item):
        with self._lock:
            self._keep([kept for kept in self.items if kept["id"] != item["id"]])

    def _keep(self, items):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(items))
        os.replace(temporary, self._path)
        self.items = items
