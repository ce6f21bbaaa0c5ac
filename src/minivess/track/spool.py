"""What is still to be sent to MLflow: one small file for each training, written at once and kept until the server has it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minivess.datasets import TrainingCase
from minivess.errors import InputError, MinivessError, OutputError
from minivess.models.bundle import INFERENCE_HASH, inference_sha256
from minivess.models.bundle_check import read_config
from minivess.paths import write_json

#: The variables that say where MLflow and the spool are.
URI_VARIABLE, SPOOL_VARIABLE = "MLFLOW_TRACKING_URI", "MINIVESS_SPOOL"
_CONFIG_SUFFIXES = (".json", ".yaml", ".yml")
#: What the sender needs of an entry.
_REQUIRED: dict[str, type] = {
    **dict.fromkeys(("id", "name", "bundle", "weights", "run"), str),
    **dict.fromkeys(("cases", "params"), dict),
    **dict.fromkeys(("start_ms", "end_ms"), int),
    "published": bool,
}
_logger = logging.getLogger(__name__)


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
        for file in self.files():
            content = self.read(file)
            if content is not None:
                yield file, content

    def files(self) -> list[Path]:
        """Return the files of the entries, oldest first."""
        return sorted(self.folder.glob("*.json"))

    @staticmethod
    def read(file: Path) -> dict[str, Any] | None:
        """Read an entry; None where it was sent by another sender in the meantime.

        Raises:
            InputError: When it is damaged, or lacks what :func:`enqueue_training` writes.
        """
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(f"The entry {file} of the spool is damaged: {error}. Move it away, and send again.") from error
        wrong = [key for key, kind in _REQUIRED.items() if not (isinstance(content, dict) and isinstance(content.get(key), kind))]
        if wrong:
            raise InputError(f"The entry {file} of the spool is damaged, or of another version: no {', '.join(wrong)}.")
        return content


def enqueue_training(
    bundle: Path,
    *,
    weights: Path,
    published: bool,
    run: Path,
    cases: Mapping[str, Sequence[TrainingCase]],
    params: Mapping[str, Any],
    seconds: float,
    scores: Mapping[str, float] | None = None,
    group: str = "",
    name: str = "",
) -> bool:
    """Leave a training that has just ended for MLflow, and start a process that sends it; only when a server is named.

    A spool that cannot be written is logged: the model is trained all the same.

    Args:
        bundle: The trained bundle.
        weights: What the training has brought, in its own folder: the bundle may hold a later model when it is sent.
        published: Whether the gate let them into the bundle; only then they are registered.
        run: Folder of the training, with its log.
        cases: Section -> its cases; their hashes are computed by the sender.
        params: Settings of the training.
        seconds: How long it took.
        scores: Name -> value on the held-out cases.
        group: Trainings of one command have the same one.
        name: Name of the model in the registry; by default that of the bundle.

    Returns:
        Whether it was left.
    """
    if not os.environ.get(URI_VARIABLE):
        return False
    end_ms = round(1000 * time.time())
    try:
        entry = _entry(bundle, name)
    except (OSError, ValueError, MinivessError) as error:
        _logger.warning("not left for MLflow: %s", error)
        return False
    entry |= {
        "bundle": str(bundle.resolve()),
        "weights": str(weights.resolve()),
        "published": published,
        "run": str(run.resolve()),
        "cases": {
            section: [{"image": str(case.image), "label": str(case.label), "subject": case.subject} for case in rows]
            for section, rows in cases.items()
        },
        "params": {key: str(value) for key, value in params.items()},
        "scores": dict(scores or {}),
        "group": group,
        "start_ms": end_ms - round(1000 * seconds),
        "end_ms": end_ms,
    }
    try:
        Spool().add(entry)
        sender = subprocess.Popen(
            [sys.executable, "-m", "minivess", "track", "send", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it outlives the training, whatever the server does
        )
    except (OutputError, OSError) as error:  # a full disk, or no process left; what is in the spool is sent later
        _logger.warning("not left for MLflow, or not sent yet: %s", error)
        return False
    threading.Thread(target=sender.wait, daemon=True, name="track-send").start()  # or it stays as a zombie
    return True


def _entry(bundle: Path, name: str) -> dict[str, Any]:
    """Return what is of the bundle now: it may be trained or configured again before the entry is sent."""
    files = [file for file in sorted((bundle / "configs").iterdir()) if file.suffix in _CONFIG_SUFFIXES]
    return {
        "name": name or str(read_config(bundle / "configs" / "metadata.json").get("name", bundle.name)),
        "configs": {file.name: file.read_bytes().decode() for file in files},  # with the line ends that the hash is of
        INFERENCE_HASH: inference_sha256(bundle),
    }
