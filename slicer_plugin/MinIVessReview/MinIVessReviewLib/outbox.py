"""The outbox: strokes and answers are written to files before they are sent, and sent in order when the server answers."""

import contextlib
import json
import os
import threading
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from slicer.i18n import tr as _

from .client import ServerError

# Translated when the module is loaded: `tr` calls Qt, and this is used in a thread.
DAMAGED = _("The stroke before it was damaged.")
# The texts that an entry must have; `person` is the user that it belongs to.
FIELDS = ("url", "person", "method", "path", "after")


class SendResult(NamedTuple):
    """Replies and refusals by entry name, and the temporary error that stopped sending, if any."""

    replies: dict
    refused: dict
    stopped: ServerError | None


class Outbox:
    """Requests that must not be lost: one file each, for one server and one user.

    Any thread may use it, and so may another Slicer with the same folder. `refused` holds the refusals so far by entry name,
    `set_aside` the damaged files that the user was not told about yet.
    """

    def __init__(self, folder):
        self._folder, self._sending = Path(folder), threading.Lock()
        self.refused, self.set_aside = {}, []

    def __len__(self):
        return len(self.names())

    def names(self):
        """List the entries, oldest first."""
        return sorted(file.stem for file in self._folder.glob("*.json"))

    def count(self, client):
        """Count the entries of a server and a user."""
        return sum(1 for _ in self._entries(client))

    def add(self, client, method, path, after="", **content):
        """Write a request to the outbox and return its name. If the entry `after` is refused or damaged, so is this one."""
        name = self._new_name()
        entry = {"url": client.url, "person": client.user, "method": method, "path": path, "after": after, **content}
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._file(name).with_suffix(".part")
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(entry, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self._file(name))
        return name

    def send(self, client):
        """Send the entries of a server and a user, oldest first, until a temporary failure. A refused entry is removed."""
        result = SendResult({}, {}, None)
        with self._sending:  # the thread of a cancelled task may still be sending
            for name, entry in self._entries(client):
                try:
                    self._check_earlier(entry["after"])
                    reply = client.json(entry["method"], entry["path"], body=entry.get("body"), data=entry.get("data"))
                except ServerError as error:
                    if error.temporary:
                        return result._replace(stopped=error)
                    self._refuse(client, name, error, result)
                    continue
                result.replies[name] = reply
                self._remove(name)
        return result

    def _check_earlier(self, name):
        """Raise the refusal of an earlier entry, if it was refused or is damaged."""
        if name in self.refused:
            raise self.refused[name]
        if name and self._damaged_file(name).exists():
            raise ServerError(422, DAMAGED)

    def _refuse(self, client, name, error, result):
        """Remove an entry and at once those that come after it: sending may stop before it reaches them."""
        result.refused[name] = self.refused[name] = error
        self._remove(name)
        for other, entry in self._entries(client):
            if entry["after"] == name:
                self._refuse(client, other, error, result)

    def _entries(self, client):
        """Yield name and content of the entries of a server and a user. A damaged file is set aside; the others are read."""
        for name in self.names():
            try:
                entry = json.loads(self._file(name).read_text(encoding="utf-8"))
                damaged = not isinstance(entry, dict) or not all(isinstance(entry.get(field), str) for field in FIELDS)
            except FileNotFoundError:
                continue  # another Slicer has sent it
            except ValueError:
                damaged = True
            if damaged:
                self._set_aside(name)
            elif (entry["url"], entry["person"]) == (client.url, client.user):
                yield name, entry

    def _set_aside(self, name):
        file = self._damaged_file(name)
        with contextlib.suppress(FileNotFoundError):  # another Slicer was first
            os.replace(self._file(name), file)
            self.set_aside.append(str(file))

    def _new_name(self):
        """Return a name that sorts after all others, also if the clock was set back."""
        numbers = (name.partition("-")[0] for name in self.names())
        last = max((int(number) for number in numbers if number.isdecimal()), default=0)
        return f"{max(time.time_ns(), last + 1):020d}-{uuid.uuid4().hex}"

    def _remove(self, name):
        self._file(name).unlink(missing_ok=True)

    def _damaged_file(self, name):
        return self._folder / f"{name}.damaged"

    def _file(self, name):
        return self._folder / f"{name}.json"
