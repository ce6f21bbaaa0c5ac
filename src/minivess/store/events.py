"""The events of a case, one small JSON file per event beside the labels. They are the source of truth of the store.

    cases/<case>/000001-case.json                 the image was found or uploaded
    cases/<case>/000002-label.json                a revision was submitted ...
    cases/<case>/000002-3f9a1c5b7d20.nii.gz       ... and this is its label
    cases/<case>/000003-review.json               a reviewer's opinion of a revision
    cases/<case>/000004-queue.json                a model proposed regions ...
    cases/<case>/000005-answer.json               ... and an annotator answered one

An event is never changed, and its file is never replaced. It counts when the audit chain contains its hash: that entry is the one
commit point of the store. A file without such an entry was left by an operation that did not succeed, and is ignored. The index
(``index.sqlite``) is derived from the events and can be rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from minivess.errors import InputError, StoreError
from minivess.paths import file_sha256, fsync_folder

EventKind = Literal["case", "info", "label", "withdraw", "settle", "review", "queue", "answer", "remove"]
FOLDER = "cases"


@dataclass(frozen=True)
class Event:
    """One change of a case.

    Attributes:
        image_id: The image.
        number: Position in the history of the case, from 1; the number of a label revision is the number of its event.
        kind: What was done.
        actor: Who did it.
        body: Values of this kind of event, as JSON.
        time_utc: When, by the clock of the server; events are ordered by number, not by time.
    """

    image_id: str
    number: int
    kind: EventKind
    actor: str
    body: dict[str, Any] = field(default_factory=dict)
    time_utc: str = field(default_factory=lambda: _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def event_path(root: Path, event: Event) -> Path:
    """Return the path of an event's file.

    Args:
        root: Folder of the store.
        event: The event.
    """
    return root / FOLDER / event.image_id / f"{event.number:06d}-{event.kind}.json"


def label_path(root: Path, image_id: str, number: int, sha256: str) -> Path:
    """Return the path of the label file of a revision.

    Args:
        root: Folder of the store.
        image_id: The image.
        number: Number of the revision.
        sha256: Hash of the label file; its first 12 digits are in the name.
    """
    return root / FOLDER / image_id / f"{number:06d}-{sha256[:12]}.nii.gz"


def write_event(root: Path, event: Event) -> str:
    """Write the file of an event; it is on the disk when this returns.

    Args:
        root: Folder of the store.
        event: The event.

    Returns:
        SHA-256 of the file in hexadecimal.

    Raises:
        InputError: When the event contains text or numbers that JSON cannot represent.
        FileExistsError: When a file of this name exists; it is not changed.
        OSError: When the file cannot be written.
    """
    content = {
        "case": event.image_id,
        "number": event.number,
        "kind": event.kind,
        "actor": event.actor,
        "time_utc": event.time_utc,
        "body": event.body,
    }
    data = strict_json(content)
    path = event_path(root, event)
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    fsync_folder(path.parent)
    return hashlib.sha256(data).hexdigest()


def strict_json(content: Any) -> bytes:
    """Return indented JSON with sorted keys in UTF-8.

    Raises:
        InputError: When it contains NaN, infinity or text that is not valid Unicode.
    """
    try:
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        return f"{text}\n".encode()
    except ValueError as error:  # UnicodeEncodeError is one
        raise InputError(f"Text must be valid Unicode and numbers must be finite. Got {ascii(str(error))[:120]}.") from error


def read_event(path: Path) -> tuple[Event, str]:
    """Read the file of an event.

    Returns:
        The event, and the SHA-256 of its file in hexadecimal.

    Raises:
        StoreError: When the file is missing, damaged, or contains another event than its name states.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
        event = Event(
            str(content["case"]),
            int(content["number"]),
            content["kind"],
            str(content["actor"]),
            dict(content["body"]),
            str(content["time_utc"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is missing or damaged ({error!r}). Restore a copy of it from a backup, then: minivess store repair STUDIES"
        ) from error
    if (
        event.kind not in get_args(EventKind)
        or path.name != f"{event.number:06d}-{event.kind}.json"
        or event.image_id != path.parent.name
    ):
        raise StoreError(f"{path} does not contain the event that its name states. Restore a copy of it.")
    return event, hashlib.sha256(data).hexdigest()


def file_fault(path: Path, sha256: str) -> str:
    """Compare a file with its recorded hash.

    Args:
        path: The file.
        sha256: Its recorded SHA-256.

    Returns:
        What is wrong, in words; empty when the file is intact.
    """
    if not path.is_file():
        return f"{path.name} is missing"
    return "" if file_sha256(path) == sha256 else f"{path.name} is not the file that was recorded"
