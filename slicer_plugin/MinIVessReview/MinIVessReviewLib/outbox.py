"""Strokes and answers, kept in files before they are sent, and sent in order as soon as the server answers."""

import json
import os
import threading
import time
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
    """Requests that must not be lost, a file each, with the server and the person it is for.

    Any thread may use it, and another Slicer on the same folder.
    """

    def __init__(self, folder):
        self._folder, self._sending = Path(folder), threading.Lock()

    def __len__(self):
        return len(self.names())

    def names(self):
        """List what is kept, the oldest first."""
        return sorted(file.stem for file in self._folder.glob("*.json"))

    def waiting(self, client):
        """Count what is kept for a server and a person."""
        return sum(1 for _ in self._of(client))

    def add(self, client, method, path, after="", **content):
        """Keep a request; gives its name. It is refused with the one that it comes `after`."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
        item = {"url": client.url, "person": client.person, "method": method, "path": path, "after": after, **content}
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._file(name).with_suffix(".part")
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(item, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self._file(name))
        return name

    def send(self, client):
        """Send what is kept for a server and a person, until nobody answers; what is refused for good is not kept."""
        sent = Sent({}, {}, None)
        with self._sending:  # a thread that was given up may still be at it
            for name, item in self._of(client):
                try:
                    if item["after"] in sent.refused:
                        raise sent.refused[item["after"]]
                    sent.replies[name] = client.json(item["method"], item["path"], body=item.get("body"), data=item.get("data"))
                except ServerError as error:
                    if error.passing:
                        return sent._replace(stopped=error)
                    sent.refused[name] = error
                self._file(name).unlink(missing_ok=True)
        return sent

    def _of(self, client):
        """Read what is for a server and a person; a damaged file is set aside, and does not stop the others."""
        for name in self.names():
            try:
                item = json.loads(self._file(name).read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # another Slicer has sent it
            except ValueError:
                os.replace(self._file(name), self._file(name).with_suffix(".damaged"))
                continue
            if (item["url"], item["person"]) == (client.url, client.person):
                yield name, item

    def _file(self, name):
        return self._folder / f"{name}.json"
