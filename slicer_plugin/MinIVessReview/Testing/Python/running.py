"""A server that runs in an environment of its own."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path


class Lab:
    """A running server: its address, what it was made of, and the token of an annotator."""

    def __init__(self, folder: Path, url: str, token: str, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.url, self.token, self.process = folder, url, token, process


def get(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()
