"""What could not be sent, kept in a file, and sent in order as soon as the server answers again."""

import json
import os
from pathlib import Path

from .client import ServerError


class Outbox:
    """Requests that must not be lost: strokes and answers."""

    def __init__(self, path):
        self._path = Path(path)
        self.items = json.loads(self._path.read_text()) if self._path.is_file() else []

    def __len__(self):
        return len(self.items)

    def send(self, client, item=None):
        """Send what is kept for this server, then `item`; gives the last answer, None where it waits now.

        Whatever the server refuses for good is taken out and raised.
        """
        mine = [kept for kept in self.items if kept["url"] == client.url]
        asked = mine + ([{**item, "url": client.url}] if item else [])
        reply = None
        for number, kept in enumerate(asked):
            try:
                reply = client.json(kept["method"], kept["path"], body=kept.get("body"), data=kept.get("data"))
            except ServerError as error:
                left = asked[number:] if error.passing else asked[number + 1 :]
                self._keep([kept for kept in self.items if kept["url"] != client.url] + left)
                if not error.passing:
                    raise
                return None
        self._keep([kept for kept in self.items if kept["url"] != client.url])
        return reply if item else None

    def _keep(self, items):
        if items == self.items:
            return
        self.items = items
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(items))
        os.replace(temporary, self._path)
