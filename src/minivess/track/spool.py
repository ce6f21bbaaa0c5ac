"""What is still to be sent to MLflow: one small file for each training, written at once and kept until the server has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minivess.errors import InputError
from minivess.paths import write_json

#: The variables that say where MLflow and the spool are.
URI_VARIABLE, SPOOL_VARIABLE = "MLFLOW_TRACKING_URI", "MINIVESS_SPOOL"


class Spool:
    """A folder of entries.

    An entry is written atomically and stays until it was sent, so that nothing is lost by a server that is away, or by a crash.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Open a spool.

        Args:
            folder: Its folder; by default that of the variable MINIVESS_SPOOL, or one below the user's state folder.
        """
        state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))
        self.folder = folder or Path(os.environ.get(SPOOL_VARIABLE, state / "minivess" / "spool"))

    def add(self, entry: Mapping[str, Any]) -> str:
        """Write an entry and return its id.

        Args:
            entry: Plain values.

        Raises:
            OutputError: When it cannot be written.
        """
        number = uuid.uuid4().hex
        write_json(self.folder / f"{time.time_ns():020d}-{number}.json", {**entry, "id": number})
        return number

    def entries(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the entries, oldest first.

        Raises:
            InputError: When one cannot be read.
        """
        for file in sorted(self.folder.glob("*.json")):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # sent by another sender in the meantime
            except ValueError as error:
                raise InputError(f"The entry {file} of the spool is damaged: {error}. Move it away, and send again.") from error
            yield file, content


def enqueue_training(
    *, name: str, bundle: Path, run: Path, cases: Mapping[str, list[dict[str, str]]], params: Mapping[str, Any], start_s: float
) -> bool:
    """Leave a training for MLflow, and start a process that sends it; nothing is done when no server is named.

    Args:
        name: Name of the model in the registry.
        bundle: The trained bundle.
        run: Folder of the training, with its log.
        cases: Section -> image, label and subject of its cases; their hashes are computed by the sender.
        params: Settings of the training.
        start_s: When it began, in seconds since 1970.

    Returns:
        Whether it was left.
    """
    if not os.environ.get(URI_VARIABLE):
        return False
    Spool().add(
        {
            "name": name,
            "bundle": str(bundle.resolve()),
            "run": str(run.resolve()),
            "cases": {section: list(rows) for section, rows in cases.items()},
            "params": {key: str(value) for key, value in params.items()},
            "start_ms": round(1000 * start_s),
            "end_ms": round(1000 * time.time()),
        }
    )
    sender = subprocess.Popen(
        [sys.executable, "-m", "minivess", "track", "send", "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it outlives the training, whatever the server does
    )
    threading.Thread(target=sender.wait, daemon=True, name="track-send").start()  # or it stays as a zombie
    return True
