"""A server and its people."""

from __future__ import annotations

from pathlib import Path

import requests

from minivess.server import LabelServer


class Lab:
    """A server and its people."""

    def __init__(self, server: LabelServer, tokens: dict[str, str], folder: Path) -> None:
        self.server, self.tokens, self.folder = server, tokens, folder

    def ask(self, method: str, path: str, who: str, **keywords: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}", **keywords.pop("headers", {})}
        return requests.request(method, f"{self.server.url}{path}", headers=headers, timeout=120, **keywords)
